"""What befalls a task from outside: it is cancelled, an error is raised where it waits, or it never wakes again."""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Main = Callable[[asyncio.Event], Coroutine[Any, Any, None]]

_owner: ContextVar[str] = ContextVar("owner", default="")


class Sabotaged(BaseException):
    """Nobody inside takes it for an outage."""


class _Driven:
    """Stands between a task and its coroutine."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self.owner = _owner.get()
        self.fate = ""

    async def run(self) -> Any:
        return await self

    def close(self) -> None:
        """As a task does with a coroutine that was cancelled before it began."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        value: Any = None
        error: BaseException | None = None
        while True:
            if self.fate == "hangs":
                try:
                    yield from asyncio.get_running_loop().create_future()
                except BaseException as raised:  # the end of the test
                    self.fate, error = "", raised
            if self.fate == "raises":
                self.fate, error = "", Sabotaged()
            try:
                waits_for = self._coroutine.throw(error) if error else self._coroutine.send(value)
            except StopIteration as end:
                return end.value
            value, error = None, None
            try:
                value = yield waits_for
            except BaseException as raised:
                error = raised


class Saboteur:
    """Within `at_work`, knows every task that is made, by the name that its main was `started` with."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], _Driven] = {}

    @contextmanager
    def at_work(self) -> Iterator["Saboteur"]:
        loop = asyncio.get_running_loop()
        before = loop.get_task_factory()
        loop.set_task_factory(self._make)
        try:
            yield self
        finally:
            loop.set_task_factory(before)

    def _make(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        driven = _Driven(coroutine)
        task = asyncio.Task(driven.run(), loop=loop, **options)
        self._tasks[task] = driven
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task).close()

    def started(self, owner: str, main: Main, stopping: asyncio.Event) -> asyncio.Task[None]:
        token = _owner.set(owner)
        try:
            return asyncio.create_task(main(stopping), name=f"main of {owner}")
        finally:
            _owner.reset(token)

    def tasks(self, owner: str) -> Mapping[str, asyncio.Task[Any]]:
        return {task.get_name(): task for task, driven in self._tasks.items() if driven.owner == owner}

    def strike(self, task: asyncio.Task[Any], how: str) -> None:
        """`hangs` and `raises` come true when it wakes next."""
        if how == "is cancelled":
            task.cancel()
        else:
            self._tasks[task].fate = how
