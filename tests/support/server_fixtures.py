"""Which fixtures and tests start servers: `make check` skips those tests."""

from collections.abc import Collection

STARTING = {"postgres_server", "kafka_server", "nginx", "serve", "server", "large_server"}
"""Fixtures that start a server."""
WITH_THEIR_OWN = (
    "bench/",
    "e2e/",
    "faults/",
    "local/machine/",
    "local/servers/test_kafka",
    "local/servers/test_postgres",
    "local/stack/",
    "shared/process/test_lifecycle",
    "shared/process/test_waiting_logs",
    "test_check",
)
"""How the paths of files begin whose tests start servers, or our own commands, themselves."""


def are_needed(file: str, fixtures: Collection[str]) -> bool:
    """For a test of this file, relative to `tests`, with these fixtures."""
    return file.startswith(WITH_THEIR_OWN) or not STARTING.isdisjoint(fixtures)
