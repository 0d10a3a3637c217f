"""Tokens for development: for what the stack itself asks for, for its tests, and for a person with curl."""

import os
import re
from collections.abc import Collection
from datetime import timedelta

from vapteke_shared import tokens
from vapteke_shared.settings import AuthSettings, load

from vapteke_local.processes import StackFailure

SCOPES = tokens.SCOPES
STACK_TTL = timedelta(days=30)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


class Misconfigured(StackFailure):
    """The services would refuse to start."""


def key_from_environment() -> str | None:
    return os.environ.get("SECRET_KEY") or None


def issue(secret_key: str, subject: str, scopes: Collection[str] = SCOPES, ttl: timedelta = STACK_TTL) -> str:
    """For services with this key in this environment. Raises Misconfigured; ValueError: no such scope."""
    if unknown := [scope for scope in scopes if scope not in SCOPES]:
        raise ValueError(f"unknown scope {unknown[0]}: expected {', '.join(SCOPES)}")
    try:
        settings = load(AuthSettings, secret_key=secret_key, auth_enabled=True)
    except SystemExit as ended:
        raise Misconfigured(str(ended)) from None
    return tokens.issue(settings, subject, scopes, ttl)


def duration(text: str) -> timedelta:
    """`90` and `90s`, `15m`, `12h`, `30d`. Raises ValueError."""
    parts = re.fullmatch(r"0*([1-9][0-9]{0,8})([smhd]?)", text)
    if parts is None:
        raise ValueError("expected a time such as 90, 15m, 12h or 30d")
    return timedelta(seconds=int(parts[1]) * _UNITS[parts[2]])
