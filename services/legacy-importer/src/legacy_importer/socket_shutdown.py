"""Shuts down the TCP connection of an ODBC driver that hangs.

The driver may wait for ever, and even its cancel call waits for the server. Shutting down the socket ends the wait.
On a system without /dev/fd no connection is found, so the driver goes on waiting.
"""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

_OPEN_FILES = Path("/dev/fd")


def addresses_connected_to(port: int) -> set[Any]:
    """The local addresses of this process's TCP connections to `port` of any host, to be spared by `shut_down`."""
    return {address for address, _ in _connections(port)}


def shut_down(port: int, spared: set[Any]) -> None:
    """Shut down this process's TCP connections to `port` of any host, except those with a local address in `spared`.

    Returns at once. The driver's calls on these connections then fail, and the driver must still close them.
    """
    for address, connection in _connections(port):
        if address not in spared:
            with suppress(OSError):  # it has closed meanwhile
                connection.shutdown(socket.SHUT_RDWR)


def _connections(port: int) -> Iterator[tuple[Any, socket.socket]]:
    for connection in _sockets():
        with connection:
            try:
                is_match = (
                    connection.family in (socket.AF_INET, socket.AF_INET6) and connection.getpeername()[1] == port
                )
            except OSError:  # it is listening, or not connected yet
                continue
            if is_match:
                yield connection.getsockname(), connection


def _sockets() -> Iterator[socket.socket]:
    """Yield a duplicate of each open socket of this process, for the caller to close.

    The sockets themselves are not safe to use: another thread may close one, and its number may be reused at once.
    Yields nothing on a system without /dev/fd.
    """
    numbers = [int(file.name) for file in _OPEN_FILES.iterdir()] if _OPEN_FILES.is_dir() else []
    for number in numbers:
        with suppress(OSError):  # closed meanwhile
            duplicate = os.dup(number)
            if stat.S_ISSOCK(os.fstat(duplicate).st_mode):
                yield socket.socket(fileno=duplicate)
            else:
                os.close(duplicate)
