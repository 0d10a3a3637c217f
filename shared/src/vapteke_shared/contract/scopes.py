"""The scopes of the services: what a token allows, and what a caller without a token may do."""

from typing import Final

SCOPES: Final = {
    "customers:read": "read customers",
    "customers:write": "create, change, delete and restore customers, and read those that it changes",
    "favorites:read": "read favorites",
    "favorites:write": "add and delete favorites, and read those that were there already",
    "imports:read": "follow imports and read what they rejected",
    "imports:run": "start and cancel imports, pause their schedule, approve deletions, and read the answers",
}
ANONYMOUS: Final = (
    "customers:read",
    "customers:write",
    "favorites:read",
    "favorites:write",
    "imports:read",
    "imports:run",
)
"""The default of AUTH_ANONYMOUS_SCOPES. The list is separate so that a scope added to `SCOPES` later is not granted to
callers without a token until an operator names it."""


def check(scope: str) -> str:
    """The scope itself. Raises ValueError when there is no such scope."""
    if scope not in SCOPES:
        raise ValueError(f"unknown scope: expected one of {', '.join(SCOPES)}")
    return scope
