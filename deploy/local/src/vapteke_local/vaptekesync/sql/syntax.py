"""Splits T-SQL into tokens and matches them with patterns: just enough to recognise the listed statements."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_SKIPPED = r"\s+|--[^\n]*|/\*.*?\*/"
_PARTS = r"""
  (?P<quoted>\[(?:[^\]]|\]\])+\]|"(?:[^"]|"")+")
 |(?P<parameter>@\w+)
 |(?P<word>[^\W\d][\w$\#@]*)
 |(?P<number>\d+)
 |(?P<text>N?'(?:[^']|'')*')
 |(?P<mark><=|>=|<>|!=|.)
"""
_TOKEN = re.compile(f"(?:{_SKIPPED})|{_PARTS}", re.VERBOSE | re.DOTALL)
# Holes of a pattern: :name is an identifier, #name an integer literal, ?name a parameter or a literal.
_PATTERN_TOKEN = re.compile(rf"(?:{_SKIPPED})|(?P<hole>[:\#?][a-z]+)|{_PARTS}", re.VERBOSE | re.DOTALL)
_KEYWORDS = frozenset(
    "SELECT FROM WHERE AND OR AS JOIN ON IN ORDER BY OVER IS NULL CAST".casefold().split(),
)


class Token(NamedTuple):
    kind: str
    text: str

    @property
    def is_name(self) -> bool:
        return self.kind == "quoted" or (self.kind == "word" and self.text.casefold() not in _KEYWORDS)

    @property
    def value(self) -> Any:
        """The value of a literal."""
        return int(self.text) if self.kind == "number" else self.text


class Mismatch(Exception):
    """The statement differs from the pattern at the token of this position."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class Parameter(NamedTuple):
    name: str


def tokens(sql: str) -> list[Token]:
    return _split(sql, _TOKEN)


def pattern(sql: str) -> list[Token]:
    return _split(sql, _PATTERN_TOKEN)


def _split(sql: str, expression: re.Pattern[str]) -> list[Token]:
    found = (Token(match.lastgroup, match.group()) for match in expression.finditer(sql) if match.lastgroup)
    return [Token(token.kind, _unquoted(token)) for token in found]


def _unquoted(token: Token) -> str:
    if token.kind == "quoted":
        close = token.text[-1]
        return token.text[1:-1].replace(close * 2, close)
    if token.kind == "text":
        return token.text[token.text.index("'") + 1 : -1].replace("''", "'")
    return token.text


def match(wanted: list[Token], given: list[Token], start: int = 0) -> dict[str, Any]:
    """Matches the tokens `given`, from `start` to the end, with the pattern `wanted`. Raises Mismatch if they differ.

    Returns the name of each hole → what fills this hole: the text of an identifier or number, the value of a literal,
    or a Parameter.
    """
    captured = match_part(wanted, given, start)
    end = start + len(wanted)
    if any(token.text != ";" for token in given[end:]):
        raise Mismatch(end)
    return captured


def match_part(wanted: list[Token], given: list[Token], start: int = 0) -> dict[str, Any]:
    """Like `match`, but other tokens may follow the ones that fit the pattern."""
    captured: dict[str, Any] = {}
    for position, expected in enumerate(wanted, start):
        if position >= len(given) or not _fits(expected, given[position], captured):
            raise Mismatch(position)
    return captured


def _fits(expected: Token, token: Token, captured: dict[str, Any]) -> bool:
    if expected.kind == "hole":
        return _fill(expected.text, token, captured)
    if expected.kind == "text":
        return token == expected
    if token.kind == "quoted" and not expected.is_name:
        return False
    return token.kind != "text" and token.text.casefold() == expected.text.casefold()


def _fill(hole: str, token: Token, captured: dict[str, Any]) -> bool:
    kind, name = hole[0], hole[1:]
    if kind == "#":
        captured[name] = token.text
        return token.kind == "number"
    if kind == "?":
        captured[name] = Parameter(token.text.casefold()) if token.kind == "parameter" else token.value
        return token.kind in ("parameter", "number", "text")
    known = captured.setdefault(name, token.text)
    return token.is_name and bool(known.casefold() == token.text.casefold())
