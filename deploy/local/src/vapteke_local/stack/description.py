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
    """Name of one of our processes → where its metrics are."""
    secret_key: str
    token: str
    """Of every scope."""
    variables: Mapping[str, Mapping[str, str]]
    """Service → what it is started with."""
    logs: str
    """The folder with a file for each process."""
    processes: dict[str, int]
    """Name → pid; follows when a process is started again."""
    truth: Mapping[str, int] | None
    """The verdict that a first import must reach; None: the rows are not the generator's."""

    def describe(self) -> dict[str, Any]:
        return vars(self) | {"vaptekesync": vars(self.vaptekesync)}


def run_file() -> Path:
    """Where a running stack of this user describes itself, unless another file was asked for."""
    return files.cache_dir() / "running.json"


@dataclass
class _Description:
    """The file that says where everything is; it holds passwords."""

    path: Path
    text: str = ""

    def write(self, stack: Stack) -> None:
        self.text = json.dumps(stack.describe(), indent=2) + "\n"
        files.write_private(self.path, self.text)


@contextmanager
def _description(path: Path) -> Iterator[_Description]:
    """Nobody shall take an earlier stack's description for ours, nor lose that of a later one."""
    description = _Description(path.resolve())
    description.path.unlink(missing_ok=True)
    try:
        yield description
    finally:
        if description.path.exists() and description.path.read_text() == description.text:
            description.path.unlink()
