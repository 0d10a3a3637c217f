"""Every route of every service rejects a caller without a token, and one with every scope except its own."""

import re
from collections.abc import Iterator
from datetime import timedelta

import contracts
import httpx
import pytest
from audit_lines import AuditLines
from fastapi.routing import iter_route_contexts
from tokens_for import SETTINGS, bearer, header
from vapteke_shared.contract.scopes import SCOPES
from vapteke_shared.http.access import auth, tokens

HEALTH = {"/health/live", "/health/ready"}
DOCUMENTATION = re.compile(r"/(docs|redoc|asyncapi)(/.*)?|/(openapi|asyncapi)\.json")


SERVICES = contracts.apps()  # without a database: nobody here gets as far


def operations() -> Iterator[tuple[str, str, str]]:
    for service, app in SERVICES.items():
        for route in iter_route_contexts(app.routes):
            for method in sorted(route.methods or {"GET"}):
                yield service, method, str(route.path)


def scope_of(method: str, path: str) -> str:
    if path.startswith("/grpc/v1/service/import_customers/"):
        return "imports:run"
    [resource] = re.findall("^/rest/v1/([a-z]+)/", path)
    reading = method in ("GET", "HEAD") or path.endswith(("/lookup/", "/check/"))
    return f"{resource}:{'read' if reading else 'run' if resource == 'imports' else 'write'}"


def is_public(path: str) -> bool:
    return path in HEALTH or DOCUMENTATION.fullmatch(path) is not None


PUBLIC = [operation for operation in operations() if is_public(operation[2])]
PROTECTED = [operation for operation in operations() if not is_public(operation[2])]


async def ask(
    service: str, method: str, path: str, headers: dict[str, str], address: str = "127.0.0.1"
) -> httpx.Response:
    transport = httpx.ASGITransport(SERVICES[service], client=(address, 40000))
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        return await client.request(method, re.sub("{[^}]+}", "1", path))


@pytest.mark.parametrize("service", SERVICES)
def test_each_route_asks_for_a_scope_or_is_on_the_list(service: str) -> None:
    unscoped = {path for path, scopes in auth.scopes_by_path(SERVICES[service]) if not scopes}

    assert {path for path in unscoped if not is_public(path)} == set()
    assert unscoped >= HEALTH


@pytest.mark.parametrize(("service", "method", "path"), PROTECTED)
async def test_a_stranger_is_refused(service: str, method: str, path: str) -> None:
    answer = await ask(service, method, path, {})

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="vapteke"')


@pytest.mark.parametrize(("service", "method", "path"), PROTECTED)
async def test_all_other_scopes_are_not_enough(service: str, method: str, path: str) -> None:
    scope = scope_of(method, path)

    answer = await ask(service, method, path, bearer(*(SCOPES.keys() - {scope})))

    assert (answer.status_code, answer.json()["detail"]) == (403, f"The token lacks the scope {scope}.")


@pytest.mark.parametrize(("service", "method", "path"), PROTECTED)
async def test_a_token_for_the_other_service_is_refused(service: str, method: str, path: str) -> None:
    [other] = SERVICES.keys() - {service}
    token = tokens.issue(SETTINGS, "tester", SCOPES, timedelta(hours=1), [other])

    answer = await ask(service, method, path, header(token))

    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


@pytest.mark.parametrize("service", SERVICES)
async def test_each_refusal_is_on_record_with_the_callers_address(
    service: str, capsys: pytest.CaptureFixture[str]
) -> None:
    operations = [(method, path) for name, method, path in PROTECTED if name == service]
    address = f"2001:db8::{len(service):x}"
    lines = AuditLines(capsys, address)

    for method, path in operations:
        await ask(service, method, path, header("rubbish"), address)
        await ask(service, method, path, bearer(*(SCOPES.keys() - {scope_of(method, path)})), address)

    found = await lines.until(2 * len(operations))
    assert {(line["subject"], line["status"]) for line in found} == {(None, 401), ("tester", 403)}


@pytest.mark.parametrize(("service", "method", "path"), PUBLIC)
async def test_the_list_is_open(service: str, method: str, path: str) -> None:
    answer = await ask(service, method, path, {})

    assert answer.status_code not in (401, 403, 404)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD"])
@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/docs/nothing", "/rest/v1/nothing/", "/health/live/", "//health/live"]
)
async def test_a_path_that_does_not_exist_is_no_strangers_business(service: str, method: str, path: str) -> None:
    answer = await ask(service, method, path, {})

    assert answer.status_code == 401
