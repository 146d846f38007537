"""
A mock cluster: ``python -m testbed.servers.kafka.mock_cluster``.

It speaks Kafka's protocol on loopback, as one broker, prints ``{"url": "127.0.0.1:<port>"}`` once it does, and ends
when its standard input does. A line there is a command, a JSON object, and is answered by an empty line:

- ``{"rtt": 50}``: each answer comes so many milliseconds late, as from a broker that is far away.
- ``{"down": true}``: connections are cut and refused, until ``{"down": false}``. What the broker has it keeps.

librdkafka's library, which confluent-kafka brings, is called directly: Python's ``Producer`` offers only a part of its
``rdkafka_mock.h``.
"""

import ctypes
import json
import sys
from importlib.metadata import files

BROKER = 1


class Cluster:
    """The cluster; it lives as long as the process."""

    def __init__(self):
        self.library = _load()
        error = ctypes.create_string_buffer(512)
        # A producer that nobody uses: a cluster needs a client to belong to.
        client = self.library.rd_kafka_new(0, self.library.rd_kafka_conf_new(), error, len(error))
        if not client:
            raise RuntimeError(error.value.decode())
        self.cluster = self.library.rd_kafka_mock_cluster_new(client, 1)
        self._call("set_controller_id", BROKER)  # without one, a client that asks for it waits
        self._call("group_initial_rebalance_delay_ms", 0)  # or each consumer's first join takes three seconds

    @property
    def address(self):
        """str: where it listens."""
        return self.library.rd_kafka_mock_cluster_bootstraps(self.cluster).decode()

    def rtt(self, milliseconds):
        """Let each answer come late."""
        self._call("broker_set_rtt", BROKER, milliseconds)

    def down(self, is_down):
        """Take the broker down, or up again."""
        self._call("broker_set_down" if is_down else "broker_set_up", BROKER)

    def _call(self, name, *arguments):
        if code := getattr(self.library, f"rd_kafka_mock_{name}")(self.cluster, *arguments):
            raise RuntimeError(f"{name}{arguments} failed with code {code}")


def _load():
    [path] = [file.locate() for file in files("confluent-kafka") if file.name.startswith("librdkafka-")]
    library = ctypes.CDLL(str(path))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.rd_kafka_mock_cluster_new.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    for name in ("set_controller_id", "broker_set_down", "broker_set_up"):
        getattr(library, f"rd_kafka_mock_{name}").argtypes = [ctypes.c_void_p, ctypes.c_int32]
    library.rd_kafka_mock_group_initial_rebalance_delay_ms.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    library.rd_kafka_mock_group_initial_rebalance_delay_ms.restype = None
    library.rd_kafka_mock_broker_set_rtt.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int]
    return library


def main():
    """Be a cluster until the input ends."""
    cluster = Cluster()
    print(json.dumps({"url": cluster.address}), flush=True)
    for line in sys.stdin:
        [(command, value)] = json.loads(line).items()
        {"rtt": cluster.rtt, "down": cluster.down}[command](value)
        print(flush=True)


if __name__ == "__main__":
    main()
