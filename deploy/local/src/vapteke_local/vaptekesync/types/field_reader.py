"""Reads the fields of a received message or of a stored row. Their numbers are little-endian."""

from __future__ import annotations


class Malformed(Exception):
    """The client sent bytes that MS-TDS does not allow here, or a value that the stand-in cannot read.

    In a procedure call it becomes error 8016; anywhere else the server closes the connection.
    """


class FieldReader:
    """The bytes of a message or of a row, and the position up to which they have been read.

    Every method reads from there and moves on. Raises Malformed if too few bytes are left.
    """

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
        """Reads a B_VARCHAR: one byte with the number of characters, then the text in UTF-16."""
        return self.take(2 * self.number(1)).decode("utf-16-le")
