"""Folders and files on this machine: caches outside the source tree, and files that are never seen half-written."""

import os
import sys
import tempfile
from pathlib import Path


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


def write_private(file: Path, text: str) -> None:
    """Replaces the file in one step; only its owner may read it."""
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    with os.fdopen(handle, "w") as stream:
        stream.write(text)
    Path(temporary).replace(file)
