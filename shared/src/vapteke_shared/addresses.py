"""Hosts and ports, IPv6 among them: how they are written, read and listened on."""

import socket
from typing import Final

_UNREAD_SECONDS: Final = 30
_MAPPED: Final = "::ffff:"


def written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bare(host: str) -> str:
    """An IPv6 address may be given in brackets; sockets and drivers want none."""
    return host.removeprefix("[").removesuffix("]")


def parts(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[host]:port`. Raises ValueError."""
    host, _, port = address.rpartition(":")
    return bare(host), int(port)


def unmapped(client: tuple[str, int] | None) -> tuple[str, int] | None:
    """A socket for both IPv6 and IPv4 shows IPv4 callers as ::ffff:192.0.2.1."""
    if client is None or not client[0].startswith(_MAPPED):
        return client
    return client[0].removeprefix(_MAPPED), client[1]


def listener(host: str, port: int) -> socket.socket:
    """`::` serves IPv4 too, a name that has both IPv4 alone. A connection whose peer accepts no data for 30 s ends.

    Raises OSError: the port is taken, or the host is not this machine's.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, address = min(found, key=lambda each: each[0] is not socket.AF_INET)
    is_dual = address[0] == "::" and socket.has_dualstack_ipv6()
    made = socket.create_server((str(address[0]), port), family=family, backlog=2048, dualstack_ipv6=is_dual)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; its connections inherit it
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_SECONDS * 1000)
    return made
