"""Tokens for the tests, and the settings that accept them."""

from datetime import timedelta

from pydantic import SecretStr
from vapteke_shared.contract.scopes import SCOPES
from vapteke_shared.http.access import tokens
from vapteke_shared.process.settings import AuthSettings

SECRET_KEY = "a key for tests alone, made up here"
SETTINGS = AuthSettings(secret_key=SecretStr(SECRET_KEY))


def bearer(*scopes: str) -> dict[str, str]:
    """The header of a request with a token of these scopes, for both services; none: of all."""
    return header(tokens.issue(SETTINGS, "tester", scopes or SCOPES, timedelta(hours=1), tokens.AUDIENCES))


def header(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
