"""
Apache Kafka and Apicurio Registry, which has Confluent's API: the real ones, for whoever has Java and Maven.

``pom.xml`` names their versions. Maven copies them into ``.kafka/``, which is kept from one run to the next.
"""

import contextlib
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
from testbed.servers.processes import PATIENCE, free_port

POM = Path(__file__).parent / "pom.xml"
INSTALLED = ROOT / ".kafka"

# What both need.
JAVA = 17

# One process is broker and controller. What is not named here is as Kafka has it by default; a cluster of one cannot
# keep the three copies of offsets that are the default.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}
log.dirs={data}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""


def find_problem():
    """
    Find out whether Apache Kafka can be started, and install it unless an earlier run has.

    Returns:
        str: why not, in one line; "" if it can.
    """
    for program in ("java", "mvn"):
        if not shutil.which(program):
            return f"{program} was not found"
    version = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr
    found = re.search(r'version "(\d+)', version)
    if not found or int(found[1]) < JAVA:
        return f"Java {JAVA} or newer was not found"
    return install()


def install():
    """
    Have Maven copy everything into ``INSTALLED``, unless an earlier run has. Two runs may do so at once.

    Returns:
        str: Maven's error, in one line; "" if there is none.
    """
    complete, wanted = INSTALLED / "pom.xml", POM.read_text(encoding="utf-8")
    INSTALLED.mkdir(exist_ok=True)
    (INSTALLED / ".gitignore").write_text("*\n", encoding="utf-8")
    with open(INSTALLED / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if complete.exists() and complete.read_text(encoding="utf-8") == wanted:
            return ""
        for path in INSTALLED.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
        done = subprocess.run(
            ["mvn", "--batch-mode", "--quiet", f"--file={POM}", f"-Dinto={INSTALLED}", "package"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            errors = [line for line in done.stdout.splitlines() if "ERROR" in line]
            return "Maven: " + (errors or [f"exit code {done.returncode}"])[0]
        complete.write_text(wanted, encoding="utf-8")
    return ""


def versions():
    """
    Read what ``pom.xml`` names.

    Returns:
        str: names and versions.
    """
    return ", ".join(
        f"{name} {re.search(f'<artifactId>{artifact}</artifactId>[^<]*<version>([^<]*)<', POM.read_text())[1]}"
        for name, artifact in (("Apache Kafka", "kafka_2.13"), ("Apicurio Registry", "apicurio-registry-app"))
    )


def command(name, *arguments, memory="128m"):
    """
    Return the command of a program of Kafka's.

    Args:
        name (str): its main class.
        *arguments (str): its arguments.
        memory (str): how large its heap may become.

    Returns:
        list[str]: the command.
    """
    # Quick to start rather than fast: most of them end within seconds.
    return ["java", f"-Xmx{memory}", "-XX:TieredStopAtLevel=1", "-cp", f"{INSTALLED}/kafka/*", name, *arguments]


class ApacheKafka:
    """
    A broker in KRaft mode. It finds its data again after a restart.

    Args:
        processes (Processes): starts it.
        directory (Path): where its data go.
        far (bool): reach it through a proxy, so that ``set_rtt`` works.
    """

    def __init__(self, processes, directory, far=False):
        self.processes, self.directory = processes, Path(directory)
        self.proxy = Proxy() if far else None
        self.process = self.port = None
        self.start()

    def start(self):
        """Start, on the same port as before if there was one."""
        self.process, self.port = self.processes.listen("kafka", self._command, self._answers, self.port)
        if self.proxy:
            self.proxy.target = self.port
            self.proxy.open()

    def _command(self, port):
        properties = self.directory / "server.properties"
        run = command("kafka.Kafka", str(properties), memory="512m")
        if port == self.port:
            return run
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir()
        properties.write_text(
            PROPERTIES.format(
                port=port,
                controller=free_port(),
                advertised=self.proxy.port if self.proxy else port,
                data=self.directory / "data",
            ),
            encoding="utf-8",
        )
        identity = ["--config", str(properties), f"--cluster-id={secrets.token_urlsafe(16)}"]
        subprocess.run(
            command("kafka.tools.StorageTool", "format", *identity), check=True, capture_output=True, timeout=PATIENCE
        )
        return run

    @staticmethod
    def _answers(port):
        with contextlib.suppress(KafkaException):
            return AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0}).list_topics(timeout=5)

    @property
    def servers(self):
        """str: where it is reached."""
        return f"127.0.0.1:{self.proxy.port if self.proxy else self.port}"

    def stop(self):
        """Stop; the data stay."""
        if self.proxy:
            self.proxy.close()
        self.process.stop()
        self.processes.forget(self.process)

    def set_rtt(self, milliseconds):
        """Let each answer come so late."""
        self.proxy.rtt = milliseconds / 1000


class Apicurio:
    """
    A schema registry that keeps what it has in memory.

    Args:
        processes (Processes): starts it.
    """

    def __init__(self, processes):
        self.process, self.port = processes.listen("registry", self._command, self._answers)

    @staticmethod
    def _command(port):
        [program] = (INSTALLED / "registry").glob("*-runner.jar")
        options = {"quarkus.http.host": "127.0.0.1", "quarkus.http.port": port}
        return [
            *("java", "-Xmx256m", "-XX:TieredStopAtLevel=1"),
            *(f"-D{name}={value}" for name, value in options.items()),
            *("-jar", str(program)),
        ]

    def _answers(self, port):
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{_url(port)}/subjects", timeout=5).ok

    @property
    def url(self):
        """str: where it listens."""
        return _url(self.port)


def _url(port):
    return f"http://127.0.0.1:{port}/apis/ccompat/v7"
