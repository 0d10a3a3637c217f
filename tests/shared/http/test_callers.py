"""From where a call comes: a stranger cannot say it, our own proxies can."""

from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tokens_for import SECRET_KEY, SETTINGS
from vapteke_local.machine import ports
from vapteke_shared.http import problems
from vapteke_shared.http.access import auth, callers
from vapteke_shared.process import http_server
from vapteke_shared.process.settings import AuthSettings, load

PROXIES = ["10.0.0.0/8", "fd00::/8"]
ADDRESSES = st.ip_addresses().map(str)


def address(peer: str | None, *forwarded: str, proxies: Sequence[str] = PROXIES, **others: str) -> str | None:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    headers += [(name.encode(), value.encode()) for name, value in others.items()]
    scope = {"type": "http", "client": peer and (peer, 40000), "headers": headers}
    return callers.address(scope, [ip_network(proxy) for proxy in proxies])


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["198.51.100.9, 192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["198.51.100.9", "192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["192.0.2.7:4711"], "192.0.2.7"),
        ("10.0.0.1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", ["[2001:DB8::7]:4711"], "2001:db8::7"),
        ("fd00::1", ["2001:db8::7, fd00::2"], "2001:db8::7"),
        ("::ffff:10.0.0.1", ["::ffff:192.0.2.7"], "192.0.2.7"),
        ("fe80::1%eth0", [], "fe80::1"),
        (None, ["192.0.2.7"], None),
    ],
)
def test_the_address_is_the_one_that_called_our_first_proxy(
    peer: str | None, forwarded: list[str], expected: str | None
) -> None:
    assert address(peer, *forwarded) == expected


@pytest.mark.parametrize(
    "rubbish", ["", "unknown", "_hidden", "192.0.2", "1" * 60_000, "192.0.2.7, x", "[", "\x00", "\xff"]
)
def test_an_invalid_address_leaves_that_of_the_proxy(rubbish: str) -> None:
    assert address("10.0.0.1", rubbish) == "10.0.0.1"


@given(ADDRESSES, st.lists(ADDRESSES, max_size=4))
def test_a_caller_cannot_choose_its_address(said: str, before: list[str]) -> None:
    """Neither directly nor through a proxy of ours, which adds the address that it was called from."""
    forged = ", ".join([*before, said])

    assert address("192.0.2.66", forged) == "192.0.2.66"
    assert address("10.0.0.1", f"{forged}, 192.0.2.66") == "192.0.2.66"
    assert address("10.0.0.1", forged, "192.0.2.66") == "192.0.2.66"


@given(ADDRESSES, ADDRESSES)
def test_without_proxies_no_header_is_trusted(peer: str, said: str) -> None:
    assert address(peer, said, proxies=[]) == address(peer, proxies=[])


def test_only_the_header_that_every_proxy_sets_is_trusted() -> None:
    others = {"forwarded": "for=198.51.100.9", "x-real-ip": "198.51.100.9"}

    assert address("10.0.0.1", **others) == "10.0.0.1"


def test_the_setting_accepts_addresses_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", SECRET_KEY)
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.1, fd00::/8")

    found = load(AuthSettings, _env_file=None).trusted_proxies

    assert [str(network) for network in found] == ["10.0.0.1/32", "fd00::/8"]


@pytest.mark.parametrize("text", ["gateway", "10.0.0.0/33", "*"])
def test_the_setting_rejects_anything_else(text: str) -> None:
    with pytest.raises(ValidationError, match="network"):
        AuthSettings(secret_key=SETTINGS.secret_key, trusted_proxies=text)  # type: ignore[arg-type]


def service(**settings: Any) -> FastAPI:
    app = FastAPI(openapi_url=None)
    problems.install(app)
    app.add_api_route("/where", _where)
    given = AuthSettings(secret_key=SETTINGS.secret_key, **settings)
    auth.protect(app, given, "customers-api", ["/where"])
    return app


async def _where(request: Request) -> str:
    return str(request.scope["address"])


@pytest.mark.parametrize(("proxies", "seen"), [("", "127.0.0.1"), ("127.0.0.0/8", "192.0.2.7")])
async def test_over_the_wire_only_the_setting_decides(proxies: str, seen: str) -> None:
    """uvicorn by itself believes whoever calls from the same machine."""
    port = ports.free_port()

    async with http_server.served(service(trusted_proxies=proxies), "127.0.0.1", port), httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{port}/where", headers={"X-Forwarded-For": "192.0.2.7"})

    assert answer.json() == seen
