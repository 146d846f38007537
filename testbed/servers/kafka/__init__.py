"""
Kafka brokers, for sites and tests, and Apache Kafka's schema registry.

There are two of each. The default needs nothing but Python: librdkafka's mock cluster, which keeps what it has in
memory and has no admin API, and a small registry of our own. ``KAFKA=apache`` selects the real ones, Apache Kafka and
Apicurio Registry, which need Java and Maven. ``KAFKA_BOOTSTRAP_SERVERS`` and ``SCHEMA_REGISTRY_URL`` name some that run
already.
"""

MOCK, APACHE = "mock", "apache"
# What a run or a test starts: the broker, and the schema registry.
KAFKAS = {MOCK: ("librdkafka's mock cluster", "the testbed's own"), APACHE: ("Apache Kafka", "Apicurio Registry")}
