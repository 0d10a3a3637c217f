"""An installation of two releases, one after the other, in use all the time; and what was seen of it.

The steps are those of `deploy/README.md`: topics and migrations run while old processes serve, then old and new ones
run side by side, then the old ones are stopped. After that, workers of one release and importers of the other make
imports of every kind. In the end the old ones are started again, as `docs/operate.md` says. An import runs across each
of the first steps, and workers of both releases apply parts of one import while callers write through both.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple

import httpx
from releases import Release, Releases, client
from running_stack import ENDED, START_SECONDS
from vapteke_local.people.generator import Person
from vapteke_local.vaptekesync import Server, control
from vapteke_shared.contract import topics

SEED = 8
CUSTOMERS, FAVORITES, IMPORTS = "/rest/v1/customers/", "/rest/v1/favorites/", "/rest/v1/imports/"
START = "/grpc/v1/service/import_customers/"
GOING_BACK = ("customers-api serve", "customers-api work")
BOTH_WORKERS = ("customers-api work", "favorites-api work")


class Form(NamedTuple):
    customers: int
    rows_per_range: int
    with_favorites: int
    swaps: int
    """Pairs of rows that exchange their phones before an import; a quarter as many rows are new."""

    @property
    def added(self) -> int:
        return self.swaps // 4


class Upgrade:
    """The installation, and what was seen of it before and meanwhile."""

    def __init__(self, form: Form, both: Releases, legacy: Server, rows: Sequence[Person]) -> None:
        self.form, self.both, self.legacy, self.rows = form, both, legacy, rows
        self.tokens: dict[str, str] = {}
        """By service, issued by the earlier release."""
        self.deleted = set[int]()
        self.active = set[int]()
        self.favorites: dict[int, list[int]] = {}
        self.history: list[dict[str, Any]] = []
        self.waiting: dict[str, int] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.answers = Counter[tuple[str, int]]()
        """By the release that answered, and the status."""
        self.deaths = Counter[str]()
        self.unfinished_at_the_stop = False
        self.unwritten = False
        """Whether a comparison has written no customer."""
        self.differences: list[tuple[int, str]] = []
        """What that comparison has found: customers and differences."""

    async def happen(self) -> None:
        old, new = self.both.old, self.both.new
        await old.prepare()
        await old.start()
        self.tokens = {
            service: old.output(service, "token", "--subject", "from before", "--scope", "all")
            for service in ("customers-api", "favorites-api")
        }
        await self.fill()
        self.active, self.favorites = await self.customers(), await self.marked()
        self.history = await self.ended_imports()
        await self.change_legacy_rows(1)
        begun_before = await self.leave_work_waiting()
        async with self.writing():
            await new.prepare()
            await old.start(*BOTH_WORKERS)
            await new.start()
            self.jobs["begun before"] = await self.ended(begun_before)
            await self.change_legacy_rows(2)
            with self.slow_reading():
                begun_side_by_side = await self.import_that_both_apply()
                self.deaths.update(old.deaths())
                await old.stop()
                self.unfinished_at_the_stop = (await self.call("GET", begun_side_by_side))["status"] not in ENDED
            self.jobs["begun side by side"] = await self.ended(begun_side_by_side)
        self.jobs["after"] = await self.ended(await self.start_import())
        self.jobs["the same again"] = await self.ended(await self.start_import())
        await self.mix()
        self.deaths.update(new.deaths())
        await new.stop(*GOING_BACK)
        await old.start(*GOING_BACK)
        self.jobs["after going back"] = await self.ended(await self.start_import())
        self.deaths.update(old.deaths())
        await self.all_sent()

    async def mix(self) -> None:
        """Imports by a worker of one release and an importer of the other, through the new API.

        In the end the old importer runs.
        """
        old, new = self.both.old, self.both.new
        await self.replace("customers-api work", new, old)
        self.jobs["changes by an old worker"] = await self.imported("changes")
        self.jobs["a comparison by an old worker"] = await self.imported("compare")
        await self.replace("customers-api work", old, new)
        self.jobs["changes after an old worker"] = await self.imported("changes")
        await self.replace("legacy-importer work", new, old)
        self.jobs["changes by an old importer"] = await self.imported("changes")
        before = await self.versions()
        self.jobs["a comparison by an old importer"] = await self.imported("compare")
        self.unwritten = before == await self.versions()
        self.differences = await self.found(self.jobs["a comparison by an old importer"]["id"])

    async def found(self, import_id: str) -> list[tuple[int, str]]:
        async with self.both.database() as connection:
            rows = await connection.fetch(_DIFFERENCES, import_id)
        return [tuple(row) for row in rows]

    async def replace(self, name: str, one: Release, other: Release) -> None:
        self.deaths.update(one.deaths())
        await one.stop(name)
        await other.start(name)

    async def imported(self, kind: str) -> dict[str, Any]:
        job = await self.call("POST", IMPORTS, {"kind": kind})
        return await self.ended(f"{IMPORTS}{job['id']}/")

    async def fill(self) -> None:
        """Imports that ended in two ways, favorites, customers whom the API made, changed and deleted."""
        self.jobs["first"] = await self.ended(await self.start_import())
        chosen = await self.linked(self.form.with_favorites)
        for customer_id in chosen:
            await self.call("POST", f"{FAVORITES}bulk/", {"user_id": customer_id, "item_ids": [1, 2]})
        for number, customer_id in enumerate(chosen[:10]):
            await self.call("POST", CUSTOMERS, {"phone": f"7999000{number:04}"})
            await self.delete(customer_id)
        await self.call(
            "POST", CUSTOMERS, {"phone": "79991000000", "firstname": "Андреи\u0306", "lastname": "Ли\u200bпа"}
        )
        with self.slow_reading():
            cancelled = await self.import_that_reads()
            await self.call("POST", f"{cancelled}cancel/")
            await self.ended(cancelled)

    async def change_legacy_rows(self, time: int) -> None:
        """Phones change places, last names change, and there are new rows, in what the importers of both releases read.

        Each time it concerns other rows.
        """
        changed = self.rows[2 * self.form.swaps * (time - 1) : 2 * self.form.swaps * time]
        for one, other in zip(changed[::2], changed[1::2], strict=True):
            for person, phone in ((one, other.phone), (other, one.phone)):
                values = {"Phone": phone, "LastName": f"{person.last_name or 'Новая'} {time}"}
                await self.change_legacy({"do": "set", "id": person.id, "values": values})
        for number in range(self.form.added):
            place = time * self.form.added + number
            values = {"ID": self.rows[-1].id + place, "Phone": f"7999{3_000_000 + place}"}
            await self.change_legacy({"do": "add", "values": values})

    async def change_legacy(self, change: dict[str, Any]) -> None:
        earlier = self.both.earlier_legacy
        assert earlier.control_port is not None
        self.legacy.change(change)
        answer = await asyncio.to_thread(control, earlier.host, earlier.control_port, change)
        assert answer["ok"], answer

    async def leave_work_waiting(self) -> str:
        """An import in its middle, with records that nobody has applied, and changes that nobody has sent."""
        with self.slow_reading():
            begun = await self.import_that_reads()
            await self.both.old.stop(*BOTH_WORKERS)
            async with asyncio.timeout(START_SECONDS):
                while not await self.both.unread(topics.LEGACY_CUSTOMERS, "customers"):
                    await asyncio.sleep(0.1)
        for customer_id in await self.linked(10):
            await self.delete(customer_id)
        async with self.both.database() as connection:
            self.waiting["outbox"] = await connection.fetchval("SELECT count(*) FROM outbox")
        self.waiting["records"] = await self.both.unread(topics.LEGACY_CUSTOMERS, "customers")
        return begun

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Customers change all the time, through old and new processes, as long as there are any."""
        stopping = asyncio.Event()
        writer = asyncio.create_task(self._write(stopping, sorted(self.active - self.deleted)))
        try:
            yield
        finally:
            stopping.set()
            await writer

    async def _write(self, stopping: asyncio.Event, ids: list[int]) -> None:
        dice = random.Random(SEED)
        for number in itertools.count():
            if stopping.is_set():
                return
            release, url = dice.choice(self._serving("customers-api")), f"{CUSTOMERS}{dice.choice(ids)}/"
            change: dict[str, Any] = {"city_id": dice.randrange(900)}
            if number % 4 == 0:  # a change of a phone locks more than any other
                url, change = f"{url}phone/", {"phone": f"7999{number + 2_000_000}"}
            with self._may_have_stopped(release.name):
                answer = await self.answer("PATCH", url, change, release.name)
                self.answers[release.name, answer.status_code] += 1
            await asyncio.sleep(0.02)

    def _serving(self, service: str) -> list[Release]:
        return [each for each in (self.both.old, self.both.new) if f"{service} serve" in each.ready]

    @contextmanager
    def _may_have_stopped(self, release: str) -> Iterator[None]:
        """A load balancer would have known it."""
        try:
            yield
        except httpx.ConnectError:
            assert release not in [each.name for each in self._serving("customers-api")]

    @contextmanager
    def slow_reading(self) -> Iterator[None]:
        earlier = self.both.earlier_legacy
        assert earlier.control_port is not None
        slow: dict[str, Any] = {"kind": "delay", "seconds": 0.3, "statement": "range"}
        self.legacy.set_fault(**slow)
        control(earlier.host, earlier.control_port, {"do": "fault", **slow})
        yield
        self.legacy.clear_faults()
        control(earlier.host, earlier.control_port, {"do": "clear"})

    async def answer(self, method: str, path: str, body: Any = None, release: str = "") -> httpx.Response:
        service = "favorites-api" if path.startswith(FAVORITES) else "customers-api"
        found = {each.name: each for each in self._serving(service)}
        served_by = found.get(release) or [*found.values()][-1]
        async with client(served_by.url(f"{service} serve"), self.tokens[service]) as api:
            return await api.request(method, path, json=body)

    async def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = await self.answer(method, path, body)
        assert answer.is_success, (path, answer.status_code, answer.text)
        return dict(answer.json())

    async def delete(self, customer_id: int) -> None:
        await self.call("DELETE", f"{CUSTOMERS}{customer_id}/")
        self.deleted.add(customer_id)

    async def start_import(self) -> str:
        started = await self.call("GET", START)
        return f"{IMPORTS}{started['data']['import_id']}/"

    async def import_that_reads(self) -> str:
        """Begun, and neither at its beginning nor at its end."""
        url = await self.start_import()
        async with asyncio.timeout(START_SECONDS):
            while not (await self.call("GET", url))["read"]:
                await asyncio.sleep(0.02)
        return url

    async def import_that_both_apply(self) -> str:
        """Begun, and applied in part by the workers of each release."""
        both = self.both.old, self.both.new
        before = [await release.rows_applied() for release in both]
        url = await self.start_import()
        async with asyncio.timeout(START_SECONDS):
            while any([await release.rows_applied() == then for release, then in zip(both, before, strict=True)]):
                await asyncio.sleep(0.1)
        return url

    async def ended(self, url: str) -> dict[str, Any]:
        async with asyncio.timeout(2 * START_SECONDS):
            while (job := await self.call("GET", url))["status"] not in ENDED:
                await asyncio.sleep(0.1)
        return job

    async def ended_imports(self) -> list[dict[str, Any]]:
        return [job for job in (await self.call("GET", IMPORTS))["items"] if job["status"] in ENDED]

    async def linked(self, count: int) -> list[int]:
        """Active customers of the import, the first ones."""
        async with self.both.database() as connection:
            return [row["id"] for row in await connection.fetch(_LINKED, count)]

    async def customers(self) -> set[int]:
        """The active ones."""
        async with self.both.database() as connection:
            return {row["id"] for row in await connection.fetch("SELECT id FROM customers WHERE deleted_at IS NULL")}

    async def versions(self) -> list[tuple[int, int]]:
        """Of all customers."""
        async with self.both.database() as connection:
            return [tuple(row) for row in await connection.fetch("SELECT id, version FROM customers ORDER BY id")]

    async def marked(self) -> dict[int, list[int]]:
        """The ids of all favorites, by customer."""
        async with self.both.database("favorites") as connection:
            rows = await connection.fetch("SELECT user_id, array_agg(id ORDER BY id) FROM favorites GROUP BY user_id")
        return {row[0]: row[1] for row in rows}

    async def all_sent(self) -> None:
        async with asyncio.timeout(START_SECONDS), self.both.database() as connection:
            while await connection.fetchval("SELECT count(*) FROM outbox"):
                await asyncio.sleep(0.05)

    async def all_followed(self) -> None:
        """Until favorites-api knows who is deleted."""
        async with asyncio.timeout(START_SECONDS), self.both.database("favorites") as connection:
            while {row["customer_id"] for row in await connection.fetch(_KNOWN_DELETED)} != self.deleted:
                await asyncio.sleep(0.1)


_LINKED = """
SELECT c.id FROM customers c JOIN legacy_customers m ON m.customer_id = c.id
WHERE c.deleted_at IS NULL ORDER BY c.id LIMIT $1
"""
_DIFFERENCES = (
    "SELECT customer_id, difference FROM import_differences WHERE import_id = $1 ORDER BY difference, customer_id"
)
_KNOWN_DELETED = "SELECT customer_id FROM deleted_customers WHERE deleted_at IS NOT NULL"
