"""The file in which a running stack describes itself: addresses, processes, passwords."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vapteke_local.machine import files
from vapteke_local.stack.dependencies import Legacy


@dataclass(frozen=True, kw_only=True)
class Stack:
    customers_api: str
    favorites_api: str
    legacy_importer: str
    postgres: str
    kafka: list[str]
    vaptekesync: Legacy
    metrics: Mapping[str, str]
    """Process → the URL of its metrics."""
    secret_key: str
    token: str
    """A bearer token with every scope."""
    variables: Mapping[str, Mapping[str, str]]
    """Service → its environment variables."""
    logs: str
    """The folder of the log files, one for each process."""
    processes: dict[str, int]
    """Process → pid; updated when a process is started again."""
    truth: Mapping[str, int] | None
    """The verdict that a first import must reach; None for an external vAptekeSync."""

    def describe(self) -> dict[str, Any]:
        return vars(self) | {"vaptekesync": vars(self.vaptekesync)}


def run_file() -> Path:
    """The file in which a stack of this user describes itself, unless --ready names another."""
    return files.cache_dir() / "running.json"


@dataclass
class DescriptionFile:
    """The file in which a running stack describes itself. Only the file's owner may read it: it contains passwords."""

    path: Path
    text: str = ""

    def write(self, stack: Stack) -> None:
        self.text = json.dumps(stack.describe(), indent=2) + "\n"
        files.write_private(self.path, self.text)


@contextmanager
def description_file(path: Path) -> Iterator[DescriptionFile]:
    """Removes the file at `path`, even that of a stack that still runs, and yields a DescriptionFile for this path.

    The caller must call its `write`. At the end of the block the written file is removed, unless another stack has
    replaced it with its own.
    """
    description = DescriptionFile(path.resolve())
    description.path.unlink(missing_ok=True)
    try:
        yield description
    finally:
        if description.path.exists() and description.path.read_text() == description.text:
            description.path.unlink()
