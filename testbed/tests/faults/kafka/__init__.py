"""The fault suite on Kafka: what becomes of events whose producer sends in the background, and of new consumers."""
