"""Bearer tokens: JSON web tokens signed with SECRET_KEY by HS256."""

import math
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import jwt

from vapteke_shared.settings import AuthSettings

SCOPES: Final = {
    "customers:read": "read customers",
    "customers:write": "create, change, delete and restore customers, and see what became of them",
    "favorites:read": "read favorites",
    "favorites:write": "add and delete favorites",
    "imports:read": "follow imports and read what they rejected",
    "imports:run": "start and cancel imports",
}
LEEWAY_SECONDS = 5
"""How far the issuer's clock may differ from ours."""
_ALGORITHM = "HS256"
_REQUIRED = ["exp", "iat", "iss", "aud", "sub"]
_LONGEST_BYTES = 4096
_REMEMBERED = 4096
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


class TokenRefused(Exception):
    """The text says why, and holds nothing of the token."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, and what for."""

    subject: str
    scopes: frozenset[str]
    expires_at: float
    """Seconds since 1970, the leeway included."""


ANONYMOUS: Final = Principal("anonymous", frozenset(SCOPES), math.inf)


def issue(settings: AuthSettings, subject: str, scopes: Collection[str], ttl: timedelta) -> str:
    """A token that `Verifier` of equal settings accepts until `ttl` is over. ValueError: no such scope, or no key."""
    if unknown := [scope for scope in scopes if scope not in SCOPES]:
        raise ValueError(f"unknown scope {unknown[0]}: expected {', '.join(SCOPES)}")
    now = int(time.time())
    claims = {
        "iss": settings.auth_issuer,
        "aud": settings.auth_audience,
        "sub": subject,
        "iat": now,
        "exp": now + int(ttl.total_seconds()),
        "scope": " ".join(scopes),
    }
    return jwt.encode(claims, _key(settings), _ALGORITHM)


def duration(text: str) -> timedelta:
    """`90` and `90s`, `15m`, `12h`, `30d`. Raises ValueError."""
    parts = re.fullmatch(r"0*([1-9][0-9]{0,8})([smhd]?)", text)
    if parts is None:
        raise ValueError("expected a time such as 90, 15m, 12h or 30d")
    return timedelta(seconds=int(parts[1]) * _UNITS[parts[2]])


class Verifier:
    """Checks a token once, and remembers its principal until it expires."""

    def __init__(self, settings: AuthSettings) -> None:
        self._settings, self._key = settings, _key(settings)
        self._known: dict[bytes, Principal] = {}

    def principal(self, token: bytes) -> Principal:
        """Raises TokenRefused."""
        known = self._known.get(token)
        if known is None:
            known = self._verified(token)
            self._remember(token, known)
        elif known.expires_at <= time.time():
            del self._known[token]
            raise TokenRefused("The token has expired.")
        return known

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
            raise TokenRefused("The token is of another issuer or for another audience.") from None
        except jwt.MissingRequiredClaimError:
            raise TokenRefused(f"The token lacks one of the claims {', '.join(_REQUIRED)}.") from None
        except jwt.PyJWTError:
            raise TokenRefused("The token is not one of ours.") from None
        return _principal(claims)

    def _claims(self, token: bytes) -> dict[str, Any]:
        return jwt.decode(
            token,
            self._key,
            algorithms=[_ALGORITHM],
            issuer=self._settings.auth_issuer,
            audience=self._settings.auth_audience,
            leeway=LEEWAY_SECONDS,
            options={"require": _REQUIRED},
        )


def _principal(claims: dict[str, Any]) -> Principal:
    subject, scope = claims["sub"], claims.get("scope", "")
    if not subject.strip() or not subject.isprintable():
        raise TokenRefused("The claim sub names nobody.")
    if not isinstance(scope, str):
        raise TokenRefused("The claim scope is not a text of words.")
    return Principal(subject, frozenset(scope.split()), int(claims["exp"]) + LEEWAY_SECONDS)


def _key(settings: AuthSettings) -> bytes:
    if settings.secret_key is None:
        raise ValueError("there is no SECRET_KEY")
    return settings.secret_key.get_secret_value().encode()
