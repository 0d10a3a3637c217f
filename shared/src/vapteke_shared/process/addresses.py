"""Formats, parses and checks hosts and ports, IPv6 included, and opens listening sockets."""

import re
import socket
from ipaddress import ip_address
from typing import Final

_UNREAD_SECONDS: Final = 30
_MAPPED: Final = "::ffff:"
_BROKER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/]+):([0-9]{1,5})", re.ASCII)


def written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bare(host: str) -> str:
    """The host without the square brackets of an IPv6 address, because sockets and drivers do not accept brackets."""
    return host.removeprefix("[").removesuffix("]")


def host(text: str) -> str:
    """`text` without brackets. Raises ValueError when `text` cannot be a host name or an IP address.

    A text with a port is invalid, too. The prefix `tcp:` of SQL Server's drivers is valid, and so is an empty text.
    """
    name = bare(text)
    if not name.isprintable() or any(each.isspace() or each in "\"'" for each in name):
        raise ValueError("has a blank, a quote or an invisible character in it")
    if ":" in name.removeprefix("tcp:") and not _is_ip(name):  # SQL Server's drivers know `tcp:`
        raise ValueError("is not a host name or address: set the port in its own variable")
    try:
        name.encode("idna")
    except UnicodeError:
        raise ValueError("is not a host name: a part between dots is empty or too long") from None
    return name


def _is_ip(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def broker(address: str) -> str:
    """`address`, unchanged. Raises ValueError unless `address` is a valid `host:port` or `[IPv6 address]:port`."""
    found = _BROKER.fullmatch(address)
    if found is None:
        raise ValueError("is not host:port; write an IPv6 address in brackets: [::1]:9092")
    host(found[1])
    if not 0 < int(found[2]) < 65536:
        raise ValueError("has a port that is not between 1 and 65535")
    return address


def parts(address: str) -> tuple[str, int]:
    """The host, without brackets, and the port of an address. Call this only with an address that `broker` accepts.

    Raises ValueError without a port. Other invalid addresses may be split at the wrong place.
    """
    host, _, port = address.rpartition(":")
    return bare(host), int(port)


def unmapped(client: tuple[str, int] | None) -> tuple[str, int] | None:
    """The address and port of a client, with the address `::ffff:192.0.2.1` as `192.0.2.1`. None stays None.

    A socket for both IPv6 and IPv4 reports the addresses of IPv4 clients in the long form.
    """
    if client is None or not client[0].startswith(_MAPPED):
        return client
    return client[0].removeprefix(_MAPPED), client[1]


def listener(host: str, port: int) -> socket.socket:
    """A socket that listens on `host` and `port`.

    Raises OSError when the port is taken or the host is unknown or not local. On `::` the socket also accepts IPv4. If
    `host` is a name with both IPv4 and IPv6 addresses, only IPv4 is used. On Linux, each accepted connection ends when
    the peer accepts no data for 30 s.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, address = min(found, key=lambda each: each[0] is not socket.AF_INET)
    is_dual = address[0] == "::" and socket.has_dualstack_ipv6()
    made = socket.create_server((str(address[0]), port), family=family, backlog=2048, dualstack_ipv6=is_dual)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; its connections inherit it
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_SECONDS * 1000)
    return made
