"""Whom a token is for, and which key may have signed it."""

from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from prometheus_client import REGISTRY
from pydantic import SecretStr
from tokens_for import SECRET_KEY
from vapteke_shared.contract.scopes import SCOPES
from vapteke_shared.http.access import tokens
from vapteke_shared.http.access.tokens import TokenRefused, Verifier
from vapteke_shared.process.settings import AuthSettings, load

NEXT_KEY = "the key after it, as long as it has to be"
HOUR = timedelta(hours=1)
COMMON = "vapteke"


def settings(**changed: object) -> AuthSettings:
    return AuthSettings(**{"secret_key": SecretStr(SECRET_KEY), **changed})  # type: ignore[arg-type]


def token(*audiences: str, subject: str = "tester", **changed: object) -> bytes:
    return tokens.issue(settings(**changed), subject, ["customers:read"], HOUR, audiences).encode()


def older_token(subject: str = "tester") -> bytes:
    """As the previous release issued them: for the audience of every service."""
    claims = {"iss": "vapteke", "aud": COMMON, "sub": subject, "iat": 1, "exp": 2**33, "scope": "customers:read"}
    return tokens.jwt.encode(claims, SECRET_KEY, "HS256").encode()


def common_audience_requests() -> float:
    return REGISTRY.get_sample_value("vapteke_common_audience_requests_total") or 0


@pytest.mark.parametrize("subject", ["", "  ", "tester\nadmin", "tester\u202e", "x" * 4000])
def test_a_subject_that_would_be_refused_is_rejected_at_issue(subject: str) -> None:
    with pytest.raises(ValueError, match="subject"):
        token("customers-api", subject=subject)


@pytest.mark.parametrize("service", ["customers-api", "favorites-api"])
def test_a_token_may_name_several_services(service: str) -> None:
    principal = Verifier(settings(), service).principal(token("customers-api", "favorites-api"))

    assert (principal.subject, principal.for_all_services) == ("tester", False)


def test_a_token_for_one_service_is_refused_by_the_other() -> None:
    with pytest.raises(TokenRefused, match="not for the audience favorites-api"):
        Verifier(settings(), "favorites-api").principal(token("customers-api"))


def test_a_token_for_the_common_audience_is_accepted_counted_and_logged_once_per_subject() -> None:
    verifier, before = Verifier(settings(), "customers-api"), common_audience_requests()

    with structlog.testing.capture_logs() as logged:
        for subject in ("app", "app", "report", "app"):
            assert verifier.principal(older_token(subject)).scopes == {"customers:read"}

    assert [(line["log_level"], line["subject"]) for line in logged] == [("warning", "app"), ("warning", "report")]
    assert common_audience_requests() - before == 4


def test_a_token_for_its_own_service_is_not_counted_as_common() -> None:
    before = common_audience_requests()

    with structlog.testing.capture_logs() as logged:
        Verifier(settings(), "customers-api").principal(token("customers-api"))

    assert (logged, common_audience_requests() - before) == ([], 0)


def test_without_a_common_audience_a_token_for_it_is_refused() -> None:
    with pytest.raises(TokenRefused, match="not for the audience customers-api"):
        Verifier(settings(auth_audience="none"), "customers-api").principal(older_token())


def test_none_is_not_an_audience() -> None:
    claims = {"iss": "vapteke", "aud": "none", "sub": "tester", "iat": 1, "exp": 2**33}

    with pytest.raises(TokenRefused):
        Verifier(settings(auth_audience="none"), "customers-api").principal(
            tokens.jwt.encode(claims, SECRET_KEY, "HS256").encode()
        )


@pytest.mark.parametrize(("scopes", "audiences"), [(["customers"], ["customers-api"]), ([], ["customer-api"])])
def test_unknown_scopes_and_audiences_are_rejected_at_issue(scopes: list[str], audiences: list[str]) -> None:
    with pytest.raises(ValueError, match="expected customers"):
        tokens.issue(settings(), "tester", scopes, HOUR, audiences)


def test_the_error_for_an_unknown_scope_names_all() -> None:
    with pytest.raises(ValueError, match=r"^unknown scope customers:all: expected .*, all$"):
        tokens.issue(settings(), "tester", ["customers:all"], HOUR, ["customers-api"])


def test_all_stands_for_every_scope() -> None:
    made = tokens.issue(settings(), "tester", ["all"], HOUR, ["customers-api"])

    assert Verifier(settings(), "customers-api").principal(made.encode()).scopes == SCOPES.keys()


def test_the_previous_key_is_accepted_and_signs_nothing() -> None:
    changed = settings(secret_key=SecretStr(NEXT_KEY), secret_key_previous=SecretStr(SECRET_KEY))
    afterwards = settings(secret_key=SecretStr(NEXT_KEY))
    old = token("customers-api")
    new = tokens.issue(changed, "tester", [], HOUR, ["customers-api"]).encode()

    assert Verifier(changed, "customers-api").principal(old).subject == "tester"
    assert Verifier(afterwards, "customers-api").principal(new).subject == "tester"
    with pytest.raises(TokenRefused, match="signature is invalid"):
        Verifier(afterwards, "customers-api").principal(old)


def test_a_third_key_is_refused_while_two_are_accepted() -> None:
    changed = settings(secret_key=SecretStr(NEXT_KEY), secret_key_previous=SecretStr(SECRET_KEY))
    forged = token("customers-api", secret_key=SecretStr("a key that the services have never had"))

    with pytest.raises(TokenRefused, match="signature is invalid"):
        Verifier(changed, "customers-api").principal(forged)


def test_an_empty_file_of_the_previous_key_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret_key").write_text(SECRET_KEY)
    (tmp_path / "secret_key_previous").write_text("\n")
    monkeypatch.delenv("SECRET_KEY", raising=False)

    found = load(AuthSettings, _secrets_dir=tmp_path, _env_file=None)

    assert found.keys == [SECRET_KEY.encode()]


def test_a_short_previous_key_ends_the_start_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", SECRET_KEY)
    monkeypatch.setenv("SECRET_KEY_PREVIOUS", "s3cret-v4lue")

    with pytest.raises(SystemExit) as ended:
        load(AuthSettings, _env_file=None)

    assert ended.value.code == "configuration: SECRET_KEY_PREVIOUS: must have at least 32 bytes"
