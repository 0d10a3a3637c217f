"""Issues and verifies bearer tokens: JSON web tokens, signed with SECRET_KEY by HS256."""

import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import jwt
from prometheus_client import Counter

from vapteke_shared.contract import topics
from vapteke_shared.contract.scopes import SCOPES
from vapteke_shared.process import logs
from vapteke_shared.process.settings import AuthSettings

AUDIENCES: Final = (topics.CUSTOMERS_API, topics.FAVORITES_API)
"""The names of the services. Each service accepts tokens whose audience is its own name."""
NO_AUDIENCE: Final = "none"
"""The value of AUTH_AUDIENCE when no common audience is accepted."""
ALL_SCOPES: Final = "all"
"""Stands for every scope of this release when a token is issued."""
SCOPE_HELP: Final = f"What it may do, repeatable: {', '.join(SCOPES)}, or {ALL_SCOPES}. Default: nothing."
NO_SCOPE: Final = (
    "This token has no scope: every request with it will be refused. Name its scopes, such as --scope customers:read; "
    "--scope all means every scope of this release."
)
LEEWAY_SECONDS = 5
"""How many seconds the issuer's clock may differ from ours."""
_ALGORITHM = "HS256"
_REQUIRED = ["exp", "iat", "iss", "aud", "sub"]
_LONGEST_BYTES = 4096
_REMEMBERED = 4096
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_WARN_SECONDS = 3600
_COMMON = Counter(
    "vapteke_common_audience_requests", "Requests whose token is for AUTH_AUDIENCE and not for the service's own name"
)

log = logs.get(__name__)


class TokenRefused(Exception):
    """A token is not accepted. The text says why to the caller, and contains no part of the token."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller and the caller's scopes, from a valid token.

    With AUTH_ENABLED=false there is one for everybody: `anonymous`, which never expires.
    """

    subject: str
    scopes: frozenset[str]
    expires_at: float
    """Seconds since 1970, including the leeway."""
    for_all_services: bool = False
    """Whether the token names the common audience instead of the service."""


def issue(
    settings: AuthSettings, subject: str, scopes: Collection[str], ttl: timedelta, audiences: Collection[str]
) -> str:
    """A signed token that the services in `audiences` accept for `ttl`.

    The services must have the same SECRET_KEY and AUTH_ISSUER. The scope `all` stands for every scope of this release.
    Without scopes the token is valid, but every endpoint rejects it with 403. Raises ValueError for an unknown scope or
    audience, an empty or unprintable subject, a token that would be too long, or a missing key.
    """
    if not _is_valid_subject(subject):
        raise ValueError("the subject must not be empty, and must have printable characters only")
    _refuse_unknown("scope", scopes, (*SCOPES, ALL_SCOPES))
    _refuse_unknown("audience", audiences, AUDIENCES)
    now = int(time.time())
    claims = {
        "iss": settings.auth_issuer,
        "aud": sorted(set(audiences)),
        "sub": subject,
        "iat": now,
        "exp": now + int(ttl.total_seconds()),
        "scope": " ".join(SCOPES if ALL_SCOPES in scopes else scopes),
    }
    token = jwt.encode(claims, _keys(settings)[0], _ALGORITHM)
    if len(token) > _LONGEST_BYTES:
        raise ValueError("the token would be too long: choose a shorter subject")
    return token


def _is_valid_subject(subject: str) -> bool:
    return bool(subject.strip()) and subject.isprintable()


def _refuse_unknown(what: str, given: Collection[str], known: Collection[str]) -> None:
    if unknown := [each for each in given if each not in known]:
        raise ValueError(f"unknown {what} {unknown[0]}: expected {', '.join(known)}")


def duration(text: str) -> timedelta:
    """Parse a duration: `90` or `90s` (seconds), `15m`, `12h` or `30d`. Raises ValueError for zero and other texts."""
    parts = re.fullmatch(r"0*([1-9][0-9]{0,8})([smhd]?)", text)
    if parts is None:
        raise ValueError("expected a time such as 90, 15m, 12h or 30d")
    return timedelta(seconds=int(parts[1]) * _UNITS[parts[2]])


class Verifier:
    """Verifies bearer tokens, and remembers the principals of 4,096 tokens, so as not to verify them again.

    Of a remembered token, only the expiry is checked again.
    """

    def __init__(self, settings: AuthSettings, audience: str) -> None:
        """Accept tokens for `audience`, the service's own name, and for AUTH_AUDIENCE unless that is `none`.

        Raises ValueError without SECRET_KEY.
        """
        self._keys, self._issuer, self._audience = _keys(settings), settings.auth_issuer, audience
        self._audiences = {audience, settings.auth_audience} - {NO_AUDIENCE}
        self._known: dict[bytes, Principal] = {}
        self._warned_at: dict[str, float] = {}

    def principal(self, token: bytes) -> Principal:
        """The principal of a token. Raises TokenRefused when the token is invalid or has expired.

        A token for AUTH_AUDIENCE and not for this service is accepted, but counted and logged.
        """
        known = self._known.get(token)
        if known is None:
            known = self._verified(token)
            self._remember(token, known)
        elif known.expires_at <= time.time():
            del self._known[token]
            raise TokenRefused("The token has expired.")
        if known.for_all_services:
            self._note_common(known.subject)
        return known

    def _note_common(self, subject: str) -> None:
        """Count a request whose token is for AUTH_AUDIENCE only, and log a warning once an hour for each subject."""
        _COMMON.inc()
        now = time.monotonic()
        if now - self._warned_at.get(subject, -_WARN_SECONDS) < _WARN_SECONDS:
            return
        if len(self._warned_at) >= _REMEMBERED:
            self._warned_at.clear()
        self._warned_at[subject] = now
        log.warning(
            "token for the common audience accepted: issue a new one for this service; a later release will refuse "
            "the common audience",
            subject=subject,
            audience=self._audience,
        )

    def _remember(self, token: bytes, principal: Principal) -> None:
        if len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[token] = principal

    def _verified(self, token: bytes) -> Principal:
        if len(token) > _LONGEST_BYTES:
            raise TokenRefused("The token is too long.")
        try:
            claims = self._claims(token)
        except jwt.ExpiredSignatureError:
            raise TokenRefused("The token has expired.") from None
        except jwt.ImmatureSignatureError:
            raise TokenRefused("The token is not valid yet.") from None
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError):
            raise TokenRefused(f"The token has another issuer, or is not for the audience {self._audience}.") from None
        except jwt.MissingRequiredClaimError:
            raise TokenRefused(f"The token lacks one of the claims {', '.join(_REQUIRED)}.") from None
        except jwt.PyJWTError:
            raise TokenRefused("The token is malformed, or its signature is invalid.") from None
        return self._principal(claims)

    def _claims(self, token: bytes) -> dict[str, Any]:
        """The claims of a token that the current key or the previous one has signed. Raises PyJWTError if invalid."""
        *others, last = self._keys
        for key in others:
            try:
                return self._claims_by(key, token)
            except jwt.InvalidSignatureError:
                continue
        return self._claims_by(last, token)

    def _claims_by(self, key: bytes, token: bytes) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=[_ALGORITHM],
            issuer=self._issuer,
            audience=self._audiences,
            leeway=LEEWAY_SECONDS,
            options={"require": _REQUIRED},
        )

    def _principal(self, claims: dict[str, Any]) -> Principal:
        subject, scope, audience = claims["sub"], claims.get("scope", ""), claims["aud"]
        if not _is_valid_subject(subject):
            raise TokenRefused("The claim sub is empty or not printable.")
        if not isinstance(scope, str):
            raise TokenRefused("The claim scope is not a string.")
        audiences = [audience] if isinstance(audience, str) else audience
        expires_at = int(claims["exp"]) + LEEWAY_SECONDS
        return Principal(subject, frozenset(scope.split()), expires_at, self._audience not in audiences)


def _keys(settings: AuthSettings) -> list[bytes]:
    """The current key, then the previous one if it is set. Raises ValueError without a current key."""
    if settings.secret_key is None:
        raise ValueError("SECRET_KEY is missing")
    return settings.keys
