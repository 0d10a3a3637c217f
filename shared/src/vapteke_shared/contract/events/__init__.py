"""The events that travel on the topics: one module per subject, and the codec that turns events into Kafka records."""
