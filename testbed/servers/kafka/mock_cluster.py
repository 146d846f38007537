"""
A mock cluster, for sites: ``python -m testbed.servers.kafka.mock_cluster``, and the ``MockCluster`` that starts it.

It speaks Kafka's protocol on loopback, as one broker, prints ``{"url": "127.0.0.1:<port>"}`` once it does, and ends
when its standard input does. A line there is a command, a JSON object, and is answered by an empty line:

- ``{"rtt": 50}``: each answer comes so many milliseconds late, as from a broker that is far away.
- ``{"down": true}``: connections are cut and refused, until ``{"down": false}``. What the broker has it keeps.

librdkafka's library, which confluent-kafka brings, is called directly: Python's ``Producer`` offers only a part of its
``rdkafka_mock.h``.
"""

import ctypes
import json
import subprocess
import sys
from importlib.metadata import files

from testbed.servers.processes import Processes

BROKER = 1
# The functions' results, and arguments, where they are not integers as ctypes has them by default.
RESULTS = {
    "rd_kafka_conf_new": ctypes.c_void_p,
    "rd_kafka_new": ctypes.c_void_p,
    "rd_kafka_mock_cluster_new": ctypes.c_void_p,
    "rd_kafka_mock_cluster_bootstraps": ctypes.c_char_p,
    "rd_kafka_mock_group_initial_rebalance_delay_ms": None,
}
ARGUMENTS = {
    "rd_kafka_new": [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t],
    "rd_kafka_mock_cluster_new": [ctypes.c_void_p, ctypes.c_int],
    "rd_kafka_mock_cluster_bootstraps": [ctypes.c_void_p],
    "rd_kafka_mock_set_controller_id": [ctypes.c_void_p, ctypes.c_int32],
    "rd_kafka_mock_broker_set_down": [ctypes.c_void_p, ctypes.c_int32],
    "rd_kafka_mock_broker_set_up": [ctypes.c_void_p, ctypes.c_int32],
    "rd_kafka_mock_group_initial_rebalance_delay_ms": [ctypes.c_void_p, ctypes.c_int32],
    "rd_kafka_mock_broker_set_rtt": [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int],
}


class MockCluster:
    def __init__(self, processes: Processes) -> None:
        self.process, self.servers = processes.server("kafka", "-m", __name__, stdin=subprocess.PIPE, text=True)

    def set_rtt(self, milliseconds: int) -> None:
        """Let each answer come so late."""
        self.process.ask({"rtt": milliseconds})

    def stop(self) -> None:
        """Cut connections, and refuse them; the data stay."""
        self.process.ask({"down": True})

    def start(self) -> None:
        """Accept connections again."""
        self.process.ask({"down": False})


def main() -> None:
    """Be a cluster until the input ends."""
    [path] = [file.locate() for file in files("confluent-kafka") or () if file.name.startswith("librdkafka-")]
    library = ctypes.CDLL(str(path))
    for name, result in RESULTS.items():
        getattr(library, name).restype = result
    for name, arguments in ARGUMENTS.items():
        getattr(library, name).argtypes = arguments
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
        [(command, value)] = json.loads(line).items()
        if command == "rtt":
            call("broker_set_rtt", BROKER, value)
        else:
            call("broker_set_down" if value else "broker_set_up", BROKER)
        print(flush=True)


if __name__ == "__main__":
    main()
