"""Reads the little-endian fields of a received message."""

from __future__ import annotations


class Malformed(Exception):
    """The client sent bytes that MS-TDS does not allow here."""


class FieldReader:
    """A received message, and the position up to which it has been read."""

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data = data
        self.position = position

    @property
    def left(self) -> int:
        return len(self.data) - self.position

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise Malformed(f"{count} bytes expected, {self.left} left")
        start = self.position
        self.position += count
        return self.data[start : self.position]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def short_text(self) -> str:
        """B_VARCHAR: the length in characters is one byte."""
        return self.take(2 * self.number(1)).decode("utf-16-le")
