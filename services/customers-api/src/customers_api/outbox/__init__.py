"""The outbox: messages for Kafka that a transaction writes, and the relay that sends them."""
