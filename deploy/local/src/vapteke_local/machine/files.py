"""Folders and files on this machine: caches outside the source tree, and files that are never seen half-written."""

import os
import sys
import tempfile
from pathlib import Path


def cache_dir() -> Path:
    """The user's cache folder for this project; created if it is missing."""
    base = Path.home() / "Library/Caches" if sys.platform == "darwin" else Path.home() / ".cache"
    return ensure_folder(Path(os.environ.get("XDG_CACHE_HOME") or base) / "vapteke")


def shared_cache_dir() -> Path:
    """The cache folder for files that root shares with processes of other users, which cannot enter root's home.

    It is created if it is missing. Only root can call this.
    """
    folder = ensure_folder(Path("/var/cache/vapteke"))
    folder.chmod(0o755)
    return folder


def ensure_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_private(file: Path, text: str) -> None:
    """Writes the text to the file, which only its owner may read. A reader sees the old content or all of the text."""
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    with os.fdopen(handle, "w") as stream:
        stream.write(text)
    Path(temporary).replace(file)
