"""Entity tags (RFC 9110, section 8.8.3): a customer's version, in quotes."""

import re

_TAG = re.compile(r'(W/)?("[^"]*")')


def of(version: int) -> str:
    return f'"{version}"'


def match(header: str, version: int) -> bool:
    """Whether an If-Match names this version; weak tags never do."""
    return header.strip() == "*" or any(tag == of(version) and not weak for weak, tag in _TAG.findall(header))


def is_known(header: str, version: int) -> bool:
    """Whether an If-None-Match names this version, so that it need not be sent."""
    return header.strip() == "*" or any(tag == of(version) for _, tag in _TAG.findall(header))
