"""Postgres and Apache Kafka without Docker: their binaries, their certificates, how they start."""
