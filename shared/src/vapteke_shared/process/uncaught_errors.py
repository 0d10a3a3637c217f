"""Logs uncaught errors by type and location, and errors in the log records of libraries by type.

The text of an error is left out, because it may hold a name, a phone or an e-mail address. asyncio's log texts are cut
for the same reason: they show tasks and calls with their arguments.
"""

import logging
import re
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import structlog

_WORDS = re.compile(r"[A-Za-z' ]*")

log = structlog.stdlib.get_logger("uncaught")


def install() -> None:
    """From now on, log uncaught errors of all threads and destructors, and Python's warnings. Safe to repeat.

    Each is logged by type and location only. A log record that cannot be written is dropped silently.
    """
    sys.excepthook = lambda _, error, __: _report("uncaught error", error)
    threading.excepthook = lambda given: _report("uncaught error in a thread", given.exc_value)
    sys.unraisablehook = lambda given: _report("error that could not be raised", given.exc_value)
    warnings.showwarning = _warn  # type: ignore[assignment]  # Python calls it with positional arguments
    logging.raiseExceptions = False  # otherwise a record that cannot be written goes to standard error, with its values


def name(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return f"{type(error).__name__}({', '.join(sorted({name(each) for each in error.exceptions}))})"
    return type(error).__name__


def location(error: BaseException) -> str | None:
    """Where an error was raised: its file, line and function. None when the error has no traceback.

    For a group of errors: where the first error of the group was raised.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    if step is None:
        return None
    code = step.tb_frame.f_code
    return f"{Path(code.co_filename).name}:{step.tb_lineno} {code.co_qualname}"


def without_values(record: logging.LogRecord) -> bool:
    """A logging filter that keeps every record, but replaces values in it that may be personal data.

    Errors among the arguments of a record become the names of their types. A text of asyncio is cut after its first
    words. Other arguments and texts stay as they are, so they must not contain personal data.
    """
    if record.name == "asyncio":  # after the first words its texts show tasks and calls with their arguments
        record.msg, record.args = _WORDS.match(record.getMessage())[0].strip(), ()  # type: ignore[index]
    elif isinstance(record.args, tuple):
        record.args = tuple(name(each) if isinstance(each, BaseException) else each for each in record.args)
    return True


def _report(text: str, error: BaseException | None) -> None:
    if error is not None:
        log.critical(text, error=name(error), at=location(error))


def _warn(_: Warning | str, category: type[Warning], filename: str, lineno: int, *__: Any) -> None:
    log.warning("a library issued a warning", category=category.__name__, at=f"{Path(filename).name}:{lineno}")
