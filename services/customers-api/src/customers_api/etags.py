"""Entity tags (RFC 9110, section 8.8.3): a customer's version, in quotes."""

import re

_TAG = re.compile(r'(W/)?("[^"]*")')


def of(version: int) -> str:
    return f'"{version}"'


def match(header: str, version: int) -> bool:
    """Whether an If-Match names this version; weak tags never do."""
    return header.strip() == "*" or any(tag == of(version) and not weak for weak, tag in _TAG.findall(header))


def none_match(header: str, version: int) -> bool:
    """Whether an If-None-Match leaves this version out, so that it is to be sent."""
    return header.strip() != "*" and all(tag != of(version) for _, tag in _TAG.findall(header))
