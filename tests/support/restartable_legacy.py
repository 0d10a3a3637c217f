"""vAptekeSync on one address. Tests stop it, and start it again with other rows, another table or other faults."""

from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import cached_property

from vapteke_local import people, vaptekesync
from vapteke_local.people import Expected, Person
from vapteke_local.vaptekesync import CUSTOMERS, Column, Server, SqlType

WITH_ROWVERSION = replace(CUSTOMERS, columns=(*CUSTOMERS.columns, Column("Version", SqlType("rowversion"))))


class RestartableLegacy:
    """Made-up people, `labelled` with what a first import makes of them. `server` is the one that runs now."""

    def __init__(self, seed: int, count: int) -> None:
        self.labelled: list[tuple[Person, Expected]] = list(people.labelled(seed, count))
        self.server: Server
        self._stack = AsyncExitStack()

    @cached_property
    def rows(self) -> list[Person]:
        """The rows of a server that is started without others, in the order of their ids."""
        return [person for person, _ in self.labelled]

    @cached_property
    def with_own_phone(self) -> list[Person]:
        """Those whose customers get a phone that no other row names, in the order of their ids."""
        named = Counter(expected.phone for _, expected in self.labelled)
        return [person for person, expected in self.labelled if expected.phone and named[expected.phone] == 1]

    async def start(self, **options: object) -> None:
        """`options` are those of `vaptekesync.serve`."""
        port = self.server.port if hasattr(self, "server") else 0
        arguments = {"rows": self.rows, "port": port, **options}
        self.server = await self._stack.enter_async_context(vaptekesync.serve(**arguments))

    async def stop(self) -> None:
        await self._stack.aclose()

    async def restart(self, **options: object) -> None:
        await self.stop()
        await self.start(**options)

    async def restart_without(self, *keys: int) -> None:
        gone = set(keys)
        await self.restart(rows=[row for row in self.rows if row.id not in gone])
