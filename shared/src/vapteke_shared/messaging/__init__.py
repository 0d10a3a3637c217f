"""Kafka: clients, consumers with stored offsets, producing in batches, access rights."""
