"""
A mock cluster, for sites: ``python -m testbed.servers.kafka.mock_cluster``, and the ``MockCluster`` that starts it.

It speaks Kafka's protocol on loopback, as one broker, prints ``{"url": "127.0.0.1:<port>"}`` once it does, and ends
when its standard input does. A line there is a call of librdkafka's, a JSON object, and is answered by an empty line:
``{"broker_set_rtt": [1, 50]}`` is ``rd_kafka_mock_broker_set_rtt`` of the cluster, with these arguments.

librdkafka's library, which confluent-kafka brings, is called directly: Python's ``Producer`` offers only a part of its
``rdkafka_mock.h``.
"""

import ctypes
import json
import subprocess
import sys
from importlib.metadata import files
from typing import Any

from testbed.servers.processes import Processes

BROKER = 1
# Of each function the result, and the arguments.
FUNCTIONS: dict[str, list[Any]] = {
    "rd_kafka_conf_new": [ctypes.c_void_p],
    "rd_kafka_new": [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t],
    "rd_kafka_mock_cluster_new": [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int],
    "rd_kafka_mock_cluster_bootstraps": [ctypes.c_char_p, ctypes.c_void_p],
    "rd_kafka_mock_set_controller_id": [ctypes.c_int, ctypes.c_void_p, ctypes.c_int32],
    "rd_kafka_mock_broker_set_down": [ctypes.c_int, ctypes.c_void_p, ctypes.c_int32],
    "rd_kafka_mock_broker_set_up": [ctypes.c_int, ctypes.c_void_p, ctypes.c_int32],
    "rd_kafka_mock_group_initial_rebalance_delay_ms": [None, ctypes.c_void_p, ctypes.c_int32],
    "rd_kafka_mock_broker_set_rtt": [ctypes.c_int, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int],
}


class MockCluster:
    def __init__(self, processes: Processes) -> None:
        self.process, self.servers = processes.server("kafka", "-m", __name__, stdin=subprocess.PIPE, text=True)

    def set_rtt(self, milliseconds: int) -> None:
        """Let each answer come so late."""
        self.process.ask({"broker_set_rtt": [BROKER, milliseconds]})

    def stop(self) -> None:
        """Cut connections, and refuse them; the data stay."""
        self.process.ask({"broker_set_down": [BROKER]})

    def start(self) -> None:
        """Accept connections again."""
        self.process.ask({"broker_set_up": [BROKER]})


def main() -> None:
    """Be a cluster until the input ends."""
    [path] = [file.locate() for file in files("confluent-kafka") or () if file.name.startswith("librdkafka-")]
    library = ctypes.CDLL(str(path))
    for function, (result, *types) in FUNCTIONS.items():
        getattr(library, function).restype, getattr(library, function).argtypes = result, types
    error = ctypes.create_string_buffer(512)
    # A producer that nobody uses: a cluster needs a client to belong to.
    client = library.rd_kafka_new(0, library.rd_kafka_conf_new(), error, len(error))
    if not client:
        raise RuntimeError(error.value.decode())
    cluster = library.rd_kafka_mock_cluster_new(client, 1)

    def call(name: str, *arguments: int) -> None:
        if code := getattr(library, f"rd_kafka_mock_{name}")(cluster, *arguments):
            raise RuntimeError(f"{name}{arguments} failed with code {code}")

    call("set_controller_id", BROKER)  # without one, a client that asks for it waits
    call("group_initial_rebalance_delay_ms", 0)  # or each consumer's first join takes three seconds
    print(json.dumps({"url": library.rd_kafka_mock_cluster_bootstraps(cluster).decode()}), flush=True)
    for line in sys.stdin:
        [(name, arguments)] = json.loads(line).items()
        call(name, *arguments)
        print(flush=True)


if __name__ == "__main__":
    main()
