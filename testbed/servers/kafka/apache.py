"""
Apache Kafka and Apicurio Registry, which has Confluent's API, for sites on a machine that has Java and Maven.

``pom.xml`` names their versions. Maven copies them into ``.kafka/``, which is kept from one run to the next.
"""

import fcntl
import re
import secrets
import shutil
import subprocess
from pathlib import Path

import requests
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from testbed import ROOT
from testbed.servers.kafka.proxy import Proxy
from testbed.servers.processes import PATIENCE, Processes, Server, free_port

POM = Path(__file__).parent / "pom.xml"
INSTALLED = ROOT / ".kafka"

# The version that both need.
JAVA = 17

# One process is broker and controller. What is not named here is as Kafka has it by default; a cluster of one cannot
# keep the three copies of offsets that are the default.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://{advertised}
log.dirs={data}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""


def find_problem() -> str:
    """Install Apache Kafka unless an earlier run has; return why it cannot be started, in one line, or ""."""
    for program in ("java", "mvn"):
        if not shutil.which(program):
            return f"{program} was not found"
    version = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr
    found = re.search(r'version "(\d+)', version)
    if not found or int(found[1]) < JAVA:
        return f"Java {JAVA} or newer was not found"
    return install()


def install() -> str:
    """Have Maven fill ``INSTALLED``, unless an earlier run has; return its error, in one line, or ""."""
    complete, wanted = INSTALLED / "pom.xml", POM.read_text(encoding="utf-8")
    INSTALLED.mkdir(exist_ok=True)
    (INSTALLED / ".gitignore").write_text("*\n", encoding="utf-8")
    with open(INSTALLED / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs may do so at once
        if complete.exists() and complete.read_text(encoding="utf-8") == wanted:
            return ""
        for path in INSTALLED.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
        maven = ["mvn", "--batch-mode", "--quiet", f"--file={POM}", f"-Dinto={INSTALLED}", "package"]
        done = subprocess.run(
            maven, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode:
            errors = [line for line in done.stdout.splitlines() if "ERROR" in line]
            return "Maven: " + (errors or [f"exit code {done.returncode}"])[0]
        complete.write_text(wanted, encoding="utf-8")
    return ""


def versions() -> str:
    """Return the names and versions in ``pom.xml``."""
    found = dict(re.findall(r"<artifactId>([^<]*)</artifactId>\s*<version>([^<]*)<", POM.read_text(encoding="utf-8")))
    return f"Apache Kafka {found['kafka_2.13']}, Apicurio Registry {found['apicurio-registry-app']}"


def command(name: str, *arguments: str, memory: str = "128m") -> list[str]:
    """Return the command of a program of Kafka's: its main class, its arguments, and the size of its heap."""
    # Quick to start rather than fast: most of them end within seconds.
    return ["java", f"-Xmx{memory}", "-XX:TieredStopAtLevel=1", "-cp", f"{INSTALLED}/kafka/*", name, *arguments]


class ApacheKafka(Server):
    """A broker in KRaft mode, which keeps its data over a restart, and the proxy through which clients reach it."""

    not_yet = KafkaException

    def __init__(self, processes: Processes, directory: Path) -> None:
        self.directory, self.proxy = directory, Proxy()
        self.servers = f"127.0.0.1:{self.proxy.port}"
        super().__init__(processes, "kafka")

    def start(self) -> None:
        super().start()
        self.proxy.open()

    def command(self, port: int) -> list[str]:
        self.proxy.target = port  # the broker sends whoever asks it here
        properties = self.directory / "server.properties"
        if port != self.port:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory.mkdir()
            text = PROPERTIES.format(
                port=port, controller=free_port(), advertised=self.servers, data=self.directory / "data"
            )
            properties.write_text(text, encoding="utf-8")
            identity = ["--config", str(properties), f"--cluster-id={secrets.token_urlsafe(16)}"]
            formatting = command("kafka.tools.StorageTool", "format", *identity)
            subprocess.run(formatting, check=True, capture_output=True, timeout=PATIENCE)
        return command("kafka.Kafka", str(properties), memory="512m")

    def answers(self) -> object:
        return AdminClient({"bootstrap.servers": f"127.0.0.1:{self.port}", "log_level": 0}).list_topics(timeout=5)

    def stop(self) -> None:
        self.proxy.close()
        super().stop()

    def set_rtt(self, milliseconds: int) -> None:
        """Let each answer come so late."""
        self.proxy.rtt = milliseconds / 1000


class Apicurio(Server):
    """A schema registry that keeps what it has in memory."""

    not_yet = requests.RequestException

    def __init__(self, processes: Processes) -> None:
        super().__init__(processes, "registry")

    def command(self, port: int) -> list[str]:
        [program] = (INSTALLED / "registry").glob("*-runner.jar")
        options = [
            "-Xmx256m",
            "-XX:TieredStopAtLevel=1",
            "-Dquarkus.http.host=127.0.0.1",
            f"-Dquarkus.http.port={port}",
        ]
        return ["java", *options, "-jar", str(program)]

    def answers(self) -> object:
        return requests.get(f"{self.url}/subjects", timeout=5).ok

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/apis/ccompat/v7"
