"""Who gets past the door: made-up tokens against a service of three routes."""

import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest
import structlog
from fastapi import FastAPI, Request, WebSocket
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.routing import Mount, Route
from tokens_for import SECRET_KEY, SETTINGS, bearer, header
from vapteke_local.machine import ports
from vapteke_shared.http import problems
from vapteke_shared.http.access import auth, callers, tokens
from vapteke_shared.http.access.tokens import LEEWAY_SECONDS, TokenRefused, Verifier
from vapteke_shared.process import http_server
from vapteke_shared.process.settings import AuthSettings, load

HOUR = timedelta(hours=1)
CHALLENGE = 'Bearer realm="vapteke"'


def service(settings: AuthSettings = SETTINGS) -> FastAPI:
    app = FastAPI(openapi_url=None)
    problems.install(app)

    @app.get("/things/", dependencies=[auth.require_scope("customers:read")])
    async def read(request: Request) -> str:
        return callers.principal(request).subject

    @app.post("/things/", dependencies=[auth.require_scope("customers:write")])
    async def write() -> None:
        return

    @app.get("/open")
    async def public() -> None:
        return

    auth.protect(app, settings, "customers-api", ["/open"])
    return app


def asking(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with asking(service()) as client:
        yield client


def claims(**changed: object) -> dict[str, Any]:
    """Of a good token, with some changed; None takes one away."""
    now = int(time.time())
    good = {
        "iss": "vapteke",
        "aud": "customers-api",
        "sub": "tester",
        "iat": now,
        "exp": now + 60,
        "scope": "customers:read",
    }
    return {name: value for name, value in (good | changed).items() if value is not None}


def signed(key: str = SECRET_KEY, algorithm: str = "HS256", **changed: object) -> str:
    return jwt.encode(claims(**changed), key, algorithm)


def encoded(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def relabelled(head: bytes) -> str:
    """A good token under another header."""
    return ".".join([encoded(head), *signed().split(".")[1:]])


def widened() -> str:
    """A good token whose claims were changed after it was signed."""
    head, payload, signature = signed().split(".")
    text = urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).replace(b"customers:read", b"customers:write")
    return ".".join([head, encoded(text), signature])


async def test_a_valid_token_is_accepted(client: httpx.AsyncClient) -> None:
    answer = await client.get("/things/", headers=header(signed()))

    assert (answer.status_code, answer.json()) == (200, "tester")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic dGVzdGVyOnNlY3JldA=="}, {"Authorization": ""}])
async def test_a_request_without_a_token_is_401(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await client.get("/things/", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "token_required")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == CHALLENGE


NOT_OURS = "The token is malformed, or its signature is invalid."
ELSEWHERE = "The token has another issuer, or is not for the audience customers-api."
EXPIRED = "The token has expired."
NOT_YET = "The token is not valid yet."
LACKS = "The token lacks one of the claims exp, iat, iss, aud, sub."
REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "algorithm none": (lambda: jwt.encode(claims(), None, "none"), NOT_OURS),
    "algorithm none, with our signature": (lambda: relabelled(b'{"alg":"none"}'), NOT_OURS),
    "another algorithm": (lambda: signed(SECRET_KEY * 2, "HS512"), NOT_OURS),
    "an algorithm of public keys": (lambda: relabelled(b'{"alg":"RS256"}'), NOT_OURS),
    "no algorithm": (lambda: relabelled(b"{}"), NOT_OURS),
    "an algorithm that is a list": (lambda: relabelled(b'{"alg":["HS256"]}'), NOT_OURS),
    "a deep header": (lambda: relabelled(b"[" * 2500), NOT_OURS),
    "another key": (lambda: signed("another key, as long as the right one"), NOT_OURS),
    "no signature": (lambda: signed().rpartition(".")[0] + ".", NOT_OURS),
    "changed after signing": (widened, NOT_OURS),
    "another audience": (lambda: signed(aud="elsewhere"), ELSEWHERE),
    "another issuer": (lambda: signed(iss="somebody"), ELSEWHERE),
    "expired": (lambda: signed(exp=int(time.time()) - LEEWAY_SECONDS - 1), EXPIRED),
    "not valid yet": (lambda: signed(nbf=int(time.time()) + LEEWAY_SECONDS + 5), NOT_YET),
    "made in the future": (lambda: signed(iat=int(time.time()) + LEEWAY_SECONDS + 5), NOT_YET),
    "no exp": (lambda: signed(exp=None), LACKS),
    "no iat": (lambda: signed(iat=None), LACKS),
    "no sub": (lambda: signed(sub=None), LACKS),
    "no aud": (lambda: signed(aud=None), LACKS),
    "no iss": (lambda: signed(iss=None), LACKS),
    "expiry that is no number": (lambda: signed(exp="tomorrow"), NOT_OURS),
    "no name": (lambda: signed(sub=" "), "The claim sub is empty or not printable."),
    "a name of two lines": (lambda: signed(sub="tester\nadmin"), "The claim sub is empty or not printable."),
    "scopes in a list": (lambda: signed(scope=["customers:read"]), "The claim scope is not a string."),
    "too long": (lambda: signed(note="x" * 4000), "The token is too long."),
    "claims that are no object": (lambda: jwt.PyJWS().encode(b"[]", SECRET_KEY, "HS256"), NOT_OURS),
    "garbage": (lambda: "a.b.c", NOT_OURS),
    "nothing": (lambda: "", NOT_OURS),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_a_wrong_token_is_refused(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    make, detail = REFUSED[kind]
    token = make()

    answer = await client.get("/things/", headers=header(token))

    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["detail"]) == (401, "invalid_token", detail)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == f'{CHALLENGE}, error="invalid_token", error_description="{detail}"'
    output = "".join(capsys.readouterr())
    assert not any(len(part) > 2 and part in answer.text + output for part in token.split("."))


@given(st.binary(max_size=200))
def test_any_malformed_token_is_refused(token: bytes) -> None:
    with pytest.raises(TokenRefused):
        Verifier(SETTINGS, "customers-api").principal(token)


@given(st.data())
def test_a_token_with_one_changed_character_is_refused(data: st.DataObject) -> None:
    token = bytearray(signed().encode())
    place = data.draw(st.integers(0, len(token) - 2))  # the last one has bits that mean nothing
    token[place] ^= data.draw(st.integers(1, 255))

    with pytest.raises(TokenRefused):
        Verifier(SETTINGS, "customers-api").principal(bytes(token))


async def test_two_tokens_are_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("/things/", headers=[("Authorization", f"Bearer {signed()}")] * 2)

    assert (answer.status_code, answer.json()["detail"]) == (401, "There is more than one Authorization header.")


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
async def test_the_scheme_is_read_in_any_case(client: httpx.AsyncClient, scheme: str) -> None:
    answer = await client.get("/things/", headers={"Authorization": f"{scheme} {signed()}"})

    assert answer.status_code == 200


@pytest.mark.parametrize("scope", [None, "", "customers:write", "customers:readers customers", "CUSTOMERS:READ"])
async def test_a_token_without_the_scope_is_forbidden(client: httpx.AsyncClient, scope: str | None) -> None:
    answer = await client.get("/things/", headers=header(signed(scope=scope)))

    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == f'{CHALLENGE}, error="insufficient_scope", scope="customers:read"'


async def test_each_method_has_its_scope(client: httpx.AsyncClient) -> None:
    writing = bearer("customers:write")

    statuses = [(await client.request(method, "/things/", headers=writing)).status_code for method in ("POST", "GET")]

    assert statuses == [200, 403]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/things/", "/things", "/nothing/", "/open/", "//open", "/open/../things/", "/"])
async def test_without_a_token_no_path_is_revealed(client: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, path)

    assert answer.status_code == 401


async def test_with_a_token_an_unknown_path_is_404(client: httpx.AsyncClient) -> None:
    assert (await client.get("/nothing/", headers=bearer())).status_code == 404


async def test_a_public_path_is_open(client: httpx.AsyncClient) -> None:
    statuses = [(await client.get("/open", headers=headers)).status_code for headers in ({}, header("rubbish"))]

    assert statuses == [200, 200]


async def test_a_web_socket_is_rejected() -> None:
    sent = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    handshake = {"type": "websocket", "path": "/things/", "headers": [], "query_string": b"", "state": {}}
    await service()(handshake, receive, send)

    assert sent == ["websocket.close"]


async def test_over_the_wire_a_web_socket_is_a_request_like_others() -> None:
    """uvicorn's own refusal logs the path with its query, which may name a person."""
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    port = ports.free_port()

    async with http_server.served(service(), "127.0.0.1", port), httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{port}/things/", headers=upgrade | key)

    assert (answer.status_code, answer.json()["code"]) == (401, "token_required")


def test_the_clocks_may_differ_a_little() -> None:
    principal = Verifier(SETTINGS, "customers-api").principal(
        signed(exp=int(time.time()) - LEEWAY_SECONDS + 3).encode()
    )

    assert principal.subject == "tester"


def test_a_remembered_token_expires() -> None:
    verifier = Verifier(SETTINGS, "customers-api")
    token = signed(exp=int(time.time()) - LEEWAY_SECONDS + 2).encode()
    remembered = verifier.principal(token)
    time.sleep(remembered.expires_at - time.time())

    with pytest.raises(TokenRefused, match=EXPIRED):
        verifier.principal(token)


def test_no_more_than_a_few_thousand_tokens_are_remembered() -> None:
    verifier = Verifier(SETTINGS, "customers-api")
    made = [signed(sub=f"tester {number}").encode() for number in range(5000)]

    subjects = [verifier.principal(token).subject for token in made + made[:1]]

    assert subjects == [f"tester {number}" for number in [*range(5000), 0]]
    assert len(verifier._known) == 4096


def test_an_issued_token_is_valid_for_its_ttl() -> None:
    token = tokens.issue(SETTINGS, "tester", ["customers:read", "imports:run"], HOUR, ["customers-api"])

    principal = Verifier(SETTINGS, "customers-api").principal(token.encode())

    assert (principal.subject, set(principal.scopes)) == ("tester", {"customers:read", "imports:run"})
    assert 3590 < principal.expires_at - LEEWAY_SECONDS - time.time() <= 3600


def a_route(app: FastAPI) -> None:
    app.get("/bare/")(lambda: None)


def a_starlette_route(app: FastAPI) -> None:
    app.router.routes.append(Route("/bare/", lambda _: Response()))


def a_mount(app: FastAPI) -> None:
    app.router.routes.append(Mount("/bare/", routes=[Route("/", lambda _: Response())]))


def a_web_socket(app: FastAPI) -> None:
    @app.websocket("/bare/")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()


@pytest.mark.parametrize("add", [a_route, a_starlette_route, a_mount, a_web_socket])
def test_a_service_with_an_unprotected_route_does_not_start(add: Callable[[FastAPI], None]) -> None:
    app = FastAPI(openapi_url=None)
    add(app)

    with pytest.raises(auth.Unprotected, match="/bare"):
        auth.protect(app, SETTINGS, "customers-api", ["/open"])


def test_a_scope_must_be_a_known_one() -> None:
    with pytest.raises(ValueError, match="customer:read"):
        auth.require_scope("customer:read")


async def test_without_authentication_everybody_is_anonymous_and_the_log_says_so() -> None:
    with structlog.testing.capture_logs() as logged:
        app = service(AuthSettings(auth_enabled=False))
    async with asking(app) as client:
        answer = await client.get("/things/")

    assert (answer.status_code, answer.json()) == (200, "anonymous")
    assert [(line["log_level"], "AUTH_ENABLED" in line["event"]) for line in logged] == [("warning", True)]


def test_the_document_shows_the_scopes() -> None:
    document = service().openapi()

    assert document["paths"]["/things/"]["get"]["security"] == [{"bearer": ["customers:read"]}]
    assert document["components"]["securitySchemes"]["bearer"]["bearerFormat"] == "JWT"
    assert "security" not in document["paths"]["/open"]["get"]


MISSING = "is missing: make one with `openssl rand -base64 48`, the same for all services"
SHORT = "must have at least 32 bytes"


@pytest.mark.parametrize(
    ("key", "fault"),
    [(None, MISSING), ("", MISSING), ("\n" * 40, MISSING), ("s3cret-v4lue", SHORT), ("х" * 15 + "y", SHORT)],
)
def test_a_missing_or_short_key_ends_the_start_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, key: str | None, fault: str
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("no-dot-env"))
    monkeypatch.delenv("SECRET_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("SECRET_KEY", key)

    with pytest.raises(SystemExit) as ended:
        load(AuthSettings)

    assert ended.value.code == f"configuration: SECRET_KEY: {fault}"


def test_a_key_is_measured_in_bytes() -> None:
    assert AuthSettings(secret_key="х" * 16).secret_key is not None


def test_without_authentication_no_key_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_KEY", raising=False)
    monkeypatch.setenv("AUTH_ENABLED", "false")

    assert load(AuthSettings).auth_enabled is False
