"""Injects faults into asyncio tasks: cancels a task, raises an error where it waits, or makes it hang."""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Main = Callable[[asyncio.Event], Coroutine[Any, Any, None]]

_owner: ContextVar[str] = ContextVar("owner", default="")


class InjectedError(BaseException):
    """No code under test mistakes it for an outage."""


class _Driven:
    """Wraps the coroutine of a task and injects its fault."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self.owner = _owner.get()
        self.fault = ""

    async def run(self) -> Any:
        return await self

    def close(self) -> None:
        """Tasks call this for a coroutine that was cancelled before its start."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        value: Any = None
        error: BaseException | None = None
        while True:
            if self.fault == "hangs":
                try:
                    yield from asyncio.get_running_loop().create_future()
                except BaseException as raised:  # the test ends
                    self.fault, error = "", raised
            if self.fault == "raises":
                self.fault, error = "", InjectedError()
            try:
                waits_for = self._coroutine.throw(error) if error else self._coroutine.send(value)
            except StopIteration as end:
                return end.value
            value, error = None, None
            try:
                value = yield waits_for
            except BaseException as raised:
                error = raised


class TaskFaults:
    """Inside `recording`, knows every task that is created, by the owner that `start` was called with."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], _Driven] = {}

    @contextmanager
    def recording(self) -> Iterator["TaskFaults"]:
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

    def start(self, owner: str, main: Main, stopping: asyncio.Event) -> asyncio.Task[None]:
        token = _owner.set(owner)
        try:
            return asyncio.create_task(main(stopping), name=f"main of {owner}")
        finally:
            _owner.reset(token)

    def tasks(self, owner: str) -> Mapping[str, asyncio.Task[Any]]:
        return {task.get_name(): task for task, driven in self._tasks.items() if driven.owner == owner}

    def inject(self, task: asyncio.Task[Any], fault: str) -> None:
        """`hangs` and `raises` take effect when the task wakes next."""
        if fault == "is cancelled":
            task.cancel()
        else:
            self._tasks[task].fault = fault
