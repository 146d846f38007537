"""
Kafka in the testbed: brokers for a run and for tests, a schema registry, and a site whose event bus they are.

The brokers are librdkafka's own mock cluster, which is no Apache Kafka: it keeps what it has in memory, has no admin
API and no authentication, and lets a consumer of a group in only after the session of the one before has timed out.
Whoever wants the real thing gives ``KAFKA_BOOTSTRAP_SERVERS``, and ``SCHEMA_REGISTRY_URL``.
"""
