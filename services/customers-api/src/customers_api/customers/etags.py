"""Entity tags (RFC 9110, section 8.8.3) of customers: the version, in quotes."""

import re
from collections.abc import Collection

_TAG = re.compile(r'(W/)?"([^"]*)"')
_VERSION = re.compile(r"[1-9]\d{0,18}", re.ASCII)


def of(version: int) -> str:
    return f'"{version}"'


def expected_versions(if_match: str | None) -> Collection[int] | None:
    """The versions that an If-Match header names; None: any version. Weak tags never match."""
    if if_match is None or if_match.strip() == "*":
        return None
    return [int(tag) for weak, tag in _TAG.findall(if_match) if not weak and _VERSION.fullmatch(tag)]


def is_known(if_none_match: str, version: int) -> bool:
    """Whether an If-None-Match header names this version, so that it need not be sent. Weak tags match too."""
    return if_none_match.strip() == "*" or any(tag == str(version) for _, tag in _TAG.findall(if_none_match))
