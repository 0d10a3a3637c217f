"""The caller of a request: the principal from the token, and the network address."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from fastapi import Request
from starlette.types import Scope

from vapteke_shared.http.access.tokens import Principal
from vapteke_shared.http.problems import ProblemError

CHALLENGE: Final = 'Bearer realm="vapteke"'
NO_TOKEN: Final = "A bearer token is required in the Authorization header."
_LONGEST = 64  # of an address with its port

Network = IPv4Network | IPv6Network
_Address = IPv4Address | IPv6Address


def principal(request: Request) -> Principal:
    """The caller's principal. Raises ProblemError on a public path, where callers need no token."""
    known = request.scope.get("principal")
    if not isinstance(known, Principal):
        raise ProblemError(401, "token_required", NO_TOKEN, {"WWW-Authenticate": CHALLENGE})
    return known


def address(scope: Scope, proxies: Sequence[Network]) -> str | None:
    """The caller's address: the peer's, or the one in X-Forwarded-For if the peer is one of our `proxies`.

    The header is read from its end, because each proxy appends the address that called it. Everything before the first
    address that is not one of our proxies was written by the caller, who may write anything. Returns None if the peer
    is unknown.
    """
    peer = scope.get("client")
    here = _parsed(peer[0]) if peer else None
    if here is None or not proxies:
        return _text(here)
    for given in reversed(_forwarded(scope)):
        before = _parsed(given) if any(here in network for network in proxies) else None
        if before is None:
            break
        here = before
    return _text(here)


def _forwarded(scope: Scope) -> list[str]:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return ",".join(values).split(",") if values else []


@lru_cache(1024)
def _text(found: _Address | None) -> str | None:
    return None if found is None else str(found)


@lru_cache(1024)
def _parsed(text: str) -> _Address | None:
    """Parse `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1` or `[2001:db8::1]:443`; a mapped IPv4 address becomes IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0]) if len(text) <= _LONGEST else None
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
