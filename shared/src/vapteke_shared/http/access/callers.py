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
    """The caller's principal: the token's, or `anonymous` with AUTH_ENABLED=false.

    Raises ProblemError (401) on a public path, where callers are not authenticated, even with a valid token.
    """
    known = request.scope.get("principal")
    if not isinstance(known, Principal):
        raise ProblemError(401, "token_required", NO_TOKEN, {"WWW-Authenticate": CHALLENGE})
    return known


def address(scope: Scope, proxies: Sequence[Network]) -> str | None:
    """The caller's IP address: the peer's, or one from X-Forwarded-For if the peer is one of our `proxies`.

    The header is read from its end, because each proxy appends the address of its own client. The first address from
    the end that is not one of our proxies is the caller's. Addresses before it are ignored, because the caller may have
    invented them. If every address is a proxy's, or the reading meets a text that is not an IP address, the last proxy
    found counts as the caller. Returns None if the peer has no IP address.
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
    """Parse `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1` or `[2001:db8::1]:443`. None: `text` is not an IP address.

    An IPv4 address that is mapped to IPv6 becomes IPv4, and the port and the zone are dropped.
    """
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
