"""Prints the texts of the commands, and runs a command until it ends, fails or is stopped by a signal."""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.logging import RichHandler

from vapteke_local.machine import processes
from vapteke_local.machine.processes import StackFailure

console = Console()
errors = Console(stderr=True)


def say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def say_error(text: str) -> None:
    errors.print(text, markup=False, highlight=False, soft_wrap=True)


def give_up(text: str) -> NoReturn:
    """Print the error text and end the command with exit code 1."""
    say_error(text)
    raise typer.Exit(1)


def run(main: Callable[[], Coroutine[Any, Any, int]], *, when_stopped: int) -> int:
    """Runs `main` and returns the exit code of the command. Sets up the logging too.

    The exit code is what `main` returns, `when_stopped` after Ctrl-C, SIGTERM or SIGHUP, or 1 after a StackFailure,
    whose text is printed. A signal cancels `main`, which then cleans up. Other exceptions pass through.
    """
    processes.end_with_make()
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=errors, show_path=False)]
    )
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs every failed attempt while the brokers start
    try:
        return asyncio.run(_until_signalled(main))
    except StackFailure as failure:
        say_error(str(failure))
        return 1
    except asyncio.CancelledError:
        return when_stopped


async def _until_signalled(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    task = asyncio.create_task(main())

    def stop() -> None:
        if not task.cancelling():  # a second cancellation would interrupt the clean-up
            say("stopping")
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return await task
