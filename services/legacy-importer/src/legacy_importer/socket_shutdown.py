"""Cutting a TCP connection under a driver that waits on it for ever and has no call to stop it.

A shut socket wakes whoever reads from it; a driver that is only asked to cancel waits for the server's word on that.
"""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

_OPEN_FILES = Path("/dev/fd")


def connected_to(port: int) -> set[Any]:
    """The local addresses of this process's TCP connections to that port."""
    return {address for address, _ in _connections(port)}


def cut(port: int, spared: set[Any]) -> None:
    """Shut this process's connections to that port, but for those from the spared local addresses."""
    for address, connection in _connections(port):
        if address not in spared:
            with suppress(OSError):  # it has ended meanwhile
                connection.shutdown(socket.SHUT_RDWR)


def _connections(port: int) -> Iterator[tuple[Any, socket.socket]]:
    for connection in _sockets():
        with connection:
            try:
                is_meant = (
                    connection.family in (socket.AF_INET, socket.AF_INET6) and connection.getpeername()[1] == port
                )
            except OSError:  # it listens, or is not connected yet
                continue
            if is_meant:
                yield connection.getsockname(), connection


def _sockets() -> Iterator[socket.socket]:
    """Duplicates: the number of a file that another thread closes may belong to a new one a moment later."""
    numbers = [int(file.name) for file in _OPEN_FILES.iterdir()] if _OPEN_FILES.is_dir() else []
    for number in numbers:
        with suppress(OSError):  # closed meanwhile
            duplicate = os.dup(number)
            if stat.S_ISSOCK(os.fstat(duplicate).st_mode):
                yield socket.socket(fileno=duplicate)
            else:
                os.close(duplicate)
