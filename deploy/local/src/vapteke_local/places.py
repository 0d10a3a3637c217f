"""Where things live on this machine: caches outside the tree, free ports, files that are never seen half-written."""

import json
import os
import random
import secrets
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

# Below the ports that Linux and macOS hand to outgoing connections: one of those could take a port just chosen.
_PORTS = range(20_000, 32_000)
_given: set[int] = set()


def cache_dir() -> Path:
    """The user's own cache for this project, made when missing."""
    base = Path.home() / "Library/Caches" if sys.platform == "darwin" else Path.home() / ".cache"
    return made(Path(os.environ.get("XDG_CACHE_HOME") or base) / "vapteke")


def shared_cache_dir() -> Path:
    """A cache of root's that other users can read: what runs as another user cannot enter root's home."""
    folder = made(Path("/var/cache/vapteke"))
    folder.chmod(0o755)
    return folder


def made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on; never the same twice in one process."""
    while True:
        port = random.choice(_PORTS)
        if port not in _given and is_free(port):
            _given.add(port)
            return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def kept_port(data: Path, name: str) -> int:
    """The port that `name` had in this data folder before, if it is free now, so that clients find it again."""
    file = data / "ports.json"
    ports: dict[str, int] = _read(file)
    if name not in ports or not is_free(ports[name]):
        ports[name] = free_port()
        write_private(file, json.dumps(ports, indent=2))
    return ports[name]


def kept_secret(data: Path, name: str) -> str:
    """The same in every run on this data folder."""
    file = data / "secrets.json"
    known: dict[str, str] = _read(file)
    if name not in known:
        known[name] = secrets.token_urlsafe(32)
        write_private(file, json.dumps(known, indent=2))
    return known[name]


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.exists() else {}


def write_private(file: Path, text: str) -> None:
    """Replaces the file in one step; only its owner may read it."""
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    with os.fdopen(handle, "w") as stream:
        stream.write(text)
    Path(temporary).replace(file)
