"""`vapteke token`: what it prints, and what it rejects."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jwt
import pytest
from tokens_for import SECRET_KEY, SETTINGS
from vapteke_local.stack import bearer_tokens
from vapteke_shared.contract.scopes import SCOPES
from vapteke_shared.http.access.tokens import AUDIENCES, LEEWAY_SECONDS, NO_SCOPE, Verifier

VAPTEKE = Path(sys.executable).parent / "vapteke"


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """The file in which a running stack describes itself."""
    file = tmp_path / "ready.json"
    file.write_text(json.dumps({"secret_key": SECRET_KEY}))
    return file


def token(ready: Path | None, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    others = {name: value for name, value in os.environ.items() if name != "SECRET_KEY"}
    command: list[str | Path] = [VAPTEKE, "token", *(["--ready", ready] if ready else []), *options]
    return subprocess.run(command, env={**others, **variables}, capture_output=True, text=True, check=False)


def test_it_is_signed_with_the_running_stacks_key_and_has_the_scopes_asked_for(ready: Path) -> None:
    printed = token(ready, "--scope", "all").stdout

    principal = Verifier(SETTINGS, "customers-api").principal(printed.strip().encode())
    assert printed == printed.strip() + "\n"
    assert (principal.subject, set(principal.scopes)) == ("developer", set(SCOPES))
    assert 0.9 < (principal.expires_at - LEEWAY_SECONDS - time.time()) / (12 * 3600) <= 1


def test_it_has_the_options_asked_for(ready: Path) -> None:
    options = ["--scope", "customers:read", "--scope", "imports:run", "--ttl", "30d", "--subject", "curl"]

    principal = Verifier(SETTINGS, "customers-api").principal(token(ready, *options).stdout.strip().encode())

    assert (principal.subject, set(principal.scopes)) == ("curl", {"customers:read", "imports:run"})
    assert 0.9 < (principal.expires_at - time.time()) / (30 * 86_400) < 1.1


def test_a_key_in_the_environment_needs_no_stack() -> None:
    printed = token(None, SECRET_KEY=SECRET_KEY).stdout

    assert Verifier(SETTINGS, "customers-api").principal(printed.strip().encode()).subject == "developer"


def test_a_named_stack_overrides_the_environment(ready: Path) -> None:
    printed = token(ready, SECRET_KEY="a key of another service altogether").stdout

    assert Verifier(SETTINGS, "customers-api").principal(printed.strip().encode()).subject == "developer"


@pytest.mark.parametrize("service", ["customers-api", "favorites-api"])
def test_a_service_prints_one_too(service: str) -> None:
    command = [VAPTEKE.with_name(service), "token", "--subject", "report", "--scope", "customers:read", "--ttl", "30d"]

    printed = subprocess.run(command, env={**os.environ, "SECRET_KEY": SECRET_KEY}, capture_output=True, check=True)

    principal = Verifier(SETTINGS, service).principal(printed.stdout.strip())
    assert (principal.subject, set(principal.scopes)) == ("report", {"customers:read"})


@pytest.mark.parametrize("program", ["vapteke", "customers-api", "favorites-api"])
def test_without_a_scope_it_allows_nothing_and_a_warning_is_printed(program: str) -> None:
    command = [VAPTEKE.with_name(program), "token", "--subject", "report", "--audience", "customers-api"]
    environment = {**os.environ, "SECRET_KEY": SECRET_KEY}

    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert Verifier(SETTINGS, "customers-api").principal(printed.stdout.strip().encode()).scopes == frozenset()
    assert printed.stderr == f"{NO_SCOPE}\n"


@pytest.mark.parametrize(
    ("service", "options", "audiences"),
    [
        ("customers-api", [], {"customers-api"}),
        ("favorites-api", [], {"favorites-api"}),
        ("customers-api", ["--audience", "customers-api", "--audience", "favorites-api"], set(AUDIENCES)),
    ],
)
def test_it_is_for_the_service_that_prints_it_or_for_those_that_are_named(
    service: str, options: list[str], audiences: set[str]
) -> None:
    command = [VAPTEKE.with_name(service), "token", "--subject", "report", "--scope", "customers:read", *options]
    environment = {**os.environ, "SECRET_KEY": SECRET_KEY}

    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    claims = jwt.decode(printed.stdout.strip(), options={"verify_signature": False})
    assert (set(claims["aud"]), printed.stderr) == (audiences, "")


def test_without_a_key_and_a_stack_there_is_an_error(tmp_path: Path) -> None:
    ended = token(tmp_path / "nothing.json")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"no stack is described in {tmp_path / 'nothing.json'}: is `vapteke up` running?\n"


def test_a_short_key_is_an_error_that_does_not_show_it() -> None:
    ended = token(None, SECRET_KEY="s3cret-v4lue")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "configuration: SECRET_KEY: must have at least 32 bytes\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scope", "customers"], "customers:read"),
        (["--audience", "customers"], "customers-api"),
        (["--ttl", "soon"], "30d"),
    ],
)
def test_an_invalid_option_is_answered_with_the_valid_ones(ready: Path, options: list[str], message: str) -> None:
    ended = token(ready, *options)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert message in ended.stderr


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000), ("007", 7)]
)
def test_valid_times_are_read(text: str, seconds: int) -> None:
    assert bearer_tokens.duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "0", "0h", "-1", "1.5h", "1w", "h", "1 h", "1h30m", "٣h", "9999999999"])
def test_other_times_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="such as"):
        bearer_tokens.duration(text)
