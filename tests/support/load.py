"""Requests at a fixed rate, by hand or in a test; half of them on connections that are kept, half on fresh ones.

`python tests/support/load.py http://127.0.0.1:8000 --token TOKEN --seconds 30 --rate 50` prints one JSON line: answers
by status, connects that nobody accepted (no error), and errors of connections that somebody had accepted.
"""

import argparse
import asyncio
import json
from collections import Counter, deque
from typing import NamedTuple
from urllib.parse import urlsplit

_SECONDS = 30  # for one answer


class Connection(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Load:
    """`run` it, then look at what it has counted."""

    def __init__(self, base_url: str, token: str, path: str = "/rest/v1/customers/?limit=5") -> None:
        place = urlsplit(base_url)
        self._host, self._port = place.hostname or "", place.port or 80
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {token}\r\nConnection: %s\r\n\r\n"
        )
        self._kept: deque[Connection] = deque()
        self.answers: Counter[int] = Counter()
        self.refused = 0
        self.errors: Counter[str] = Counter()

    async def run(self, seconds: float, rate: float) -> None:
        clock = asyncio.get_running_loop()
        started, numbers = clock.time(), range(int(seconds * rate))
        async with asyncio.TaskGroup() as group:
            for number in numbers:
                await asyncio.sleep(started + number / rate - clock.time())
                group.create_task(self._ask(keep=number % 2 == 0))
        for connection in self._kept:
            connection.writer.close()

    def summary(self) -> dict[str, object]:
        return {"answers": dict(self.answers), "refused": self.refused, "errors": dict(self.errors)}

    async def _ask(self, keep: bool) -> None:
        if (connection := await self._connected(keep)) is None:
            self.refused += 1
            return
        try:
            async with asyncio.timeout(_SECONDS):
                status, closing = await self._answer(connection, "keep-alive" if keep else "close")
        except (OSError, EOFError) as error:
            self.errors[f"{'kept' if keep else 'fresh'}: {type(error).__name__}"] += 1
            connection.writer.close()
            return
        self.answers[status] += 1
        if status >= 500:
            self.errors[str(status)] += 1
        if keep and not closing:
            self._kept.append(connection)
        else:
            connection.writer.close()

    async def _connected(self, keep: bool) -> Connection | None:
        """The kept connection that has waited longest, or a new one; None when nobody accepts."""
        if keep and self._kept:
            return self._kept.popleft()
        try:
            return Connection(*await asyncio.open_connection(self._host, self._port))
        except OSError:
            return None

    async def _answer(self, connection: Connection, wish: str) -> tuple[int, bool]:
        """Its status, and whether the server closes. Raises OSError, or EOFError when the answer is cut off."""
        connection.writer.write((self._request % wish).encode())
        head = (await connection.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        await connection.reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers.get("connection") == "close"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("base_url")
    options.add_argument("--token", default="")
    options.add_argument("--seconds", type=float, default=10)
    options.add_argument("--rate", type=float, default=50, help="requests per second")
    options.add_argument("--path", default="/rest/v1/customers/?limit=5")
    given = options.parse_args()
    load = Load(given.base_url, given.token, given.path)
    asyncio.run(load.run(given.seconds, given.rate))
    print(json.dumps(load.summary()))  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
