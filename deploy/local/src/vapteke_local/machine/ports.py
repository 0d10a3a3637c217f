"""Free ports of 127.0.0.1."""

import random
import socket

# Below the ports that Linux and macOS give to outgoing connections, which could take a port that was just chosen.
_PORTS = range(20_000, 32_000)
_given: set[int] = set()


def free_port() -> int:
    """A port of 127.0.0.1 that is free now. Within one process, no port is returned twice.

    The port is not reserved: another process may take it before the caller listens on it.
    """
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
