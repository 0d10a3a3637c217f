"""Postgres: sessions, pools, retries, outages, tables and migrations."""
