"""Entity tags (RFC 9110, section 8.8.3) of customers: the version, in quotes."""

import re
from collections.abc import Collection

_TAG = re.compile(r'(W/)?"([^"]*)"')
_VERSION = re.compile(r"[1-9]\d{0,18}", re.ASCII)


def of(version: int) -> str:
    return f'"{version}"'


def expected_versions(if_match: str | None) -> Collection[int] | None:
    """The versions that an If-Match header allows. None: there is no header or it is `*`, so any version is allowed.

    Weak tags, and tags that are not a version, are left out. If no tag remains, the collection is empty: no version is
    allowed, so the write fails with VersionMismatch.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    return [int(tag) for weak, tag in _TAG.findall(if_match) if not weak and _VERSION.fullmatch(tag)]


def is_known(if_none_match: str, version: int) -> bool:
    """Whether an If-None-Match header is `*` or names this version, so that the customer need not be sent again.

    Weak tags name a version too.
    """
    return if_none_match.strip() == "*" or any(tag == str(version) for _, tag in _TAG.findall(if_none_match))
