"""AUTH_ENABLED=false: it is logged loudly, and it grants no scope that a later release adds."""

import contracts
import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY
from vapteke_shared.contract import scopes
from vapteke_shared.process.settings import AuthSettings, load

OF_THIS_RELEASE = {
    "customers:read",
    "customers:write",
    "favorites:read",
    "favorites:write",
    "imports:read",
    "imports:run",
}
SERVICES = ["customers-api", "favorites-api"]


def app_of(service: str, **settings: object) -> FastAPI:
    return contracts.apps(auth_enabled=False, secret_key=None, **settings)[service]


async def ask(app: FastAPI, path: str, method: str = "GET") -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/health/live", "GET", 200),
        ("/health/ready", "GET", 200),
        ("/docs/", "GET", 200),
        ("/rest/v1/nothing/", "GET", 404),
        ("/rest/v1/{}/?limit=no", "GET", 422),
        ("/rest/v1/{}/", "PUT", 405),
        ("/rest/v1/{}/", "GET", 500),  # there is no database here
    ],
)
async def test_every_answer_says_it(service: str, path: str, method: str, status: int) -> None:
    answer = await ask(app_of(service), path.format(service.removesuffix("-api")), method)

    assert (answer.status_code, answer.headers["auth-enabled"]) == (status, "false")


@pytest.mark.parametrize("service", SERVICES)
async def test_readiness_and_metrics_say_it(service: str) -> None:
    answer = await ask(app_of(service), "/health/ready")

    assert "AUTH_ENABLED=false" in answer.json()["warnings"]["auth"]
    assert REGISTRY.get_sample_value("vapteke_auth_enabled") == 0


@pytest.mark.parametrize("service", SERVICES)
async def test_with_tokens_nothing_says_it(service: str) -> None:
    answer = await ask(contracts.apps()[service], "/health/ready")

    assert "auth-enabled" not in answer.headers
    assert "warnings" not in answer.json()
    assert REGISTRY.get_sample_value("vapteke_auth_enabled") == 1


def test_it_grants_the_scopes_of_this_release_and_none_that_is_added_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scopes.SCOPES, "prices:read", "read prices")

    assert set(AuthSettings(auth_enabled=False).auth_anonymous_scopes) == OF_THIS_RELEASE


async def test_a_scope_that_is_not_granted_is_refused() -> None:
    app = app_of("customers-api", auth_anonymous_scopes="customers:read, imports:read")

    answer = await ask(app, "/rest/v1/imports/", "POST")

    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert answer.json()["detail"] == "AUTH_ANONYMOUS_SCOPES lacks the scope imports:run."


def test_an_unknown_scope_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_ENABLED", "false")
    monkeypatch.setenv("AUTH_ANONYMOUS_SCOPES", "customers:read,customers:erase")

    with pytest.raises(SystemExit, match=r"AUTH_ANONYMOUS_SCOPES.*unknown scope"):
        load(AuthSettings, _env_file=None)
