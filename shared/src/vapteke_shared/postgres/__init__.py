"""Postgres: sessions, the pool, what counts as an outage, tables and migrations."""
