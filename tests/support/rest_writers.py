"""Clients of the REST service who all write at once, and what they were answered."""

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

CUSTOMERS = "/rest/v1/customers/"
CLIENTS = 16
NAMES = ("Анна", "Борис", "Вера", "Глеб", "Дина", "Егор", "Жанна", "Захар", "Инна", "Кирилл", "Лев", "Мария")
_RECENT = 300

Dice = random.Random
Shown = Mapping[str, Any]


def skewed(dice: Dice, phones: Sequence[str]) -> str:
    """The first of them the most."""
    return phones[int(len(phones) * dice.random() ** 2)]


class Writers:
    """They create, change, delete and restore customers and race for `phones`, the first of them the most.

    The same seed makes the same wishes, not the same history. An answer that no wish allows is a surprise.
    """

    def __init__(self, client: httpx.AsyncClient, phones: Sequence[str], seed: int) -> None:
        self._http, self._phones, self._seed = client, phones, seed
        self.written = 0
        self.outcomes: Counter[tuple[str, int]] = Counter()
        self.surprises: list[str] = []
        self.answers: list[tuple[int, int, Shown]] = []
        """Customer, version, and the fields that it has according to the answer."""
        self.created: set[int] = set()
        self._free, self._busy = asyncio.Event(), 0
        self._free.set()
        self._highest = 1
        self._known: dict[int, tuple[str, Shown]] = {}
        self._living: deque[int] = deque([1], _RECENT)
        self._deleted: deque[int] = deque([1], _RECENT)
        self._picked: Sequence[int] = ()

    async def write(self, count: int, meanwhile: Awaitable[None]) -> None:
        """`count` writes at least, and on until `meanwhile` is over and a tenth of them came after it."""
        goal = float("inf")

        async def disturb() -> None:
            nonlocal goal
            await meanwhile
            goal = max(count, self.written + count // 10)

        async def write(dice: Dice) -> None:
            while self.written < goal:
                await self._one(dice)

        async with asyncio.TaskGroup() as group:
            group.create_task(disturb())
            for number in range(CLIENTS):
                group.create_task(write(random.Random(f"{self._seed} {number}")))

    def pick_on(self, customers: Sequence[int]) -> None:
        """Three writes in ten are to these from now on."""
        self._picked = customers

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Nobody writes while the block runs."""
        self._free.clear()
        try:
            async with asyncio.timeout(120):
                while self._busy:
                    await asyncio.sleep(0.005)
            yield
        finally:
            self._free.set()

    async def _one(self, dice: Dice) -> None:
        wishes: dict[Callable[[Dice], Awaitable[None]], int] = {
            self._create: 20,
            self._change: 25,
            self._change_nothing: 7,
            self._change_phone: 20,
            self._delete: 14,
            self._restore: 14,
        }
        [wish] = dice.choices(list(wishes), list(wishes.values()))
        await self._free.wait()
        self._busy += 1
        try:
            await wish(dice)
        except httpx.TransportError as error:
            self.surprises.append(f"{wish.__name__}: {error!r}")
        finally:
            self._busy -= 1

    async def _create(self, dice: Dice) -> None:
        body = {"phone": skewed(dice, self._phones), **_profile(dice, 0.6)}
        answer = await self._ask("create", "POST", "", {201, 409}, body)
        if answer.status_code == 201:
            customer_id = answer.json()["id"]
            self.created.add(customer_id)
            self._highest = max(self._highest, customer_id)
            self._remember(customer_id, answer, answer.json())

    async def _change(self, dice: Dice) -> None:
        customer_id = self._somebody(dice, self._living)
        answer = await self._ask(
            "change", "PATCH", f"{customer_id}/", {200, 404}, _profile(dice, 0.3), self._tag(dice, customer_id)
        )
        if answer.status_code == 200:
            self._remember(customer_id, answer, answer.json())

    async def _change_nothing(self, dice: Dice) -> None:
        customer_id = self._somebody(dice, self._living)
        tag, shown = self._known.get(customer_id, ("", {}))
        body = {name: shown[name] for name in _PROFILE if name in shown}
        answer = await self._ask("change nothing", "PATCH", f"{customer_id}/", {200, 404}, body, tag)
        if answer.status_code == 200:
            self._remember(customer_id, answer, answer.json())
            if tag and answer.headers["etag"] != tag:
                self.surprises.append("change nothing: it is a new version")

    async def _change_phone(self, dice: Dice) -> None:
        customer_id, phone = self._somebody(dice, self._living), skewed(dice, self._phones)
        path = f"{customer_id}/{dice.choice(['', 'phone/'])}"
        answer = await self._ask(
            "change phone", "PATCH", path, {200, 404, 409}, {"phone": phone}, self._tag(dice, customer_id)
        )
        if answer.status_code == 200:
            self._remember(customer_id, answer, {"phone": phone})

    async def _delete(self, dice: Dice) -> None:
        customer_id = self._somebody(dice, self._living)
        answer = await self._ask("delete", "DELETE", f"{customer_id}/", {200, 404}, tag=self._tag(dice, customer_id))
        if answer.status_code == 200:
            self._deleted.append(customer_id)

    async def _restore(self, dice: Dice) -> None:
        customer_id = self._somebody(dice, self._deleted)
        answer = await self._ask("restore", "POST", f"{customer_id}/restore/", {200, 404, 409})
        if answer.status_code == 200:
            self._remember(customer_id, answer, answer.json())

    async def _ask(
        self, wish: str, method: str, path: str, expected: set[int], body: Any = None, tag: str = ""
    ) -> httpx.Response:
        headers = {"If-Match": tag} if tag else {}
        answer = await self._http.request(method, CUSTOMERS + path, json=body, headers=headers)
        self.written += 1
        self.outcomes[wish, answer.status_code] += 1
        if answer.status_code not in (expected | {412} if tag else expected):
            self.surprises.append(f"{wish}: {answer.status_code} {answer.text}")
        return answer

    def _remember(self, customer_id: int, answer: httpx.Response, shown: Shown) -> None:
        tag = answer.headers["etag"]
        self.answers.append((customer_id, int(tag.strip('"')), shown))
        self._known[customer_id] = (tag, shown)
        self._living.append(customer_id)

    def _somebody(self, dice: Dice, lately: Sequence[int]) -> int:
        """One of late, one of the picked, or anybody at all, those of an import and those who never were among them."""
        choice = dice.random()
        if choice < 0.3 and self._picked:
            return dice.choice(self._picked)
        return dice.choice(lately) if choice < 0.6 else dice.randint(1, self._highest + 1)

    def _tag(self, dice: Dice, customer_id: int) -> str:
        return self._known.get(customer_id, ("", {}))[0] if dice.random() < 0.3 else ""


_PROFILE: dict[str, Callable[[Dice], Any]] = {
    "firstname": lambda dice: dice.choice(NAMES) if dice.random() < 0.9 else f"Имя-{dice.randrange(10_000)}",
    "lastname": lambda dice: f"Фамилия-{dice.randrange(500)}",
    "email": lambda dice: f"somebody{dice.randrange(1000)}@example.com",
    "birthday": lambda dice: f"{dice.randint(1930, 2005)}-{dice.randint(1, 12):02}-{dice.randint(1, 28):02}",
    "gender": lambda dice: dice.choice("MF"),
    "city_id": lambda dice: dice.randrange(200),
    "last_auth_at": lambda dice: (
        f"20{dice.randint(10, 25)}-03-04T05:06:{dice.randrange(60):02}.{dice.randrange(1000):03}Z"
    ),
}


def _profile(dice: Dice, share: float) -> dict[str, Any]:
    """Some of the fields; one in ten of them null."""
    named = {name: draw for name, draw in _PROFILE.items() if dice.random() < share}
    return {name: draw(dice) if dice.random() < 0.9 else None for name, draw in named.items()}
