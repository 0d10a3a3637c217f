"""The ports and passwords of a stack, kept in its data folder for the next stack there, except a port that is taken."""

import json
import secrets
from pathlib import Path
from typing import Any

from vapteke_local.machine.files import write_private
from vapteke_local.machine.ports import free_port, is_free


def kept_port(data: Path, name: str) -> int:
    """The port of 127.0.0.1 that `name` had in the last run on this data folder, if that port is still free.

    Otherwise a free port, which the folder keeps for the next run.
    """
    file = data / "ports.json"
    ports: dict[str, int] = _read(file)
    if name not in ports or not is_free(ports[name]):
        ports[name] = free_port()
        write_private(file, json.dumps(ports, indent=2))
    return ports[name]


def kept_secret(data: Path, name: str) -> str:
    """The random password of `name`. The first call creates one, and the data folder keeps it for later runs."""
    file = data / "secrets.json"
    known: dict[str, str] = _read(file)
    if name not in known:
        known[name] = secrets.token_urlsafe(32)
        write_private(file, json.dumps(known, indent=2))
    return known[name]


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.exists() else {}
