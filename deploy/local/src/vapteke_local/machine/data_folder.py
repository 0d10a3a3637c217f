"""Ports and passwords that a data folder keeps, so that the next run has the same ones."""

import json
import secrets
from pathlib import Path
from typing import Any

from vapteke_local.machine.files import write_private
from vapteke_local.machine.ports import free_port, is_free


def kept_port(data: Path, name: str) -> int:
    """The port that `name` had in the last run on this data folder; a new one if that is taken or there was none."""
    file = data / "ports.json"
    ports: dict[str, int] = _read(file)
    if name not in ports or not is_free(ports[name]):
        ports[name] = free_port()
        write_private(file, json.dumps(ports, indent=2))
    return ports[name]


def kept_secret(data: Path, name: str) -> str:
    """The password of `name`: the same in every run on this data folder."""
    file = data / "secrets.json"
    known: dict[str, str] = _read(file)
    if name not in known:
        known[name] = secrets.token_urlsafe(32)
        write_private(file, json.dumps(known, indent=2))
    return known[name]


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.exists() else {}
