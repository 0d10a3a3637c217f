"""Free ports of 127.0.0.1."""

import random
import socket

# Below the ports that Linux and macOS hand to outgoing connections: one of those could take a port just chosen.
_PORTS = range(20_000, 32_000)
_given: set[int] = set()


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
