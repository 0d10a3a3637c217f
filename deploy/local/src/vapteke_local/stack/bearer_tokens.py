"""Bearer tokens for development: for the stack itself, for its tests, and for a person with curl."""

import os
from collections.abc import Collection
from datetime import timedelta

from vapteke_shared.http.access import tokens
from vapteke_shared.process.settings import AuthSettings, load

from vapteke_local.machine.processes import StackFailure

duration = tokens.duration
AUDIENCES, NO_SCOPE, SCOPE_HELP = tokens.AUDIENCES, tokens.NO_SCOPE, tokens.SCOPE_HELP
STACK_TTL = timedelta(days=30)


class Misconfigured(StackFailure):
    """The settings of tokens are invalid: the services would not start with them either."""


def key_from_environment() -> str | None:
    return os.environ.get("SECRET_KEY") or None


def issue(
    secret_key: str,
    subject: str,
    scopes: Collection[str],
    ttl: timedelta = STACK_TTL,
    audiences: Collection[str] = AUDIENCES,
) -> str:
    """A bearer token that the services in `audiences`, with this `secret_key`, accept until `ttl` has passed.

    The scope `all` stands for every scope. Without scopes, every endpoint rejects the token with 403. The other
    settings come from the environment. Raises Misconfigured if they are invalid or the key is too short, and ValueError
    for an unknown scope or audience or an invalid subject.
    """
    try:
        settings = load(AuthSettings, secret_key=secret_key, auth_enabled=True)
    except SystemExit as ended:
        raise Misconfigured(str(ended)) from None
    return tokens.issue(settings, subject, scopes, ttl, audiences)
