"""Kafka: clients, consumers with stored offsets, batches to send, topics and access rights."""
