"""Logs uncaught errors, and errors in log records of libraries, by type and location, never by their text.

The text of an error may hold a name, a phone or an e-mail address; so may the representation of a task or a call.
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
    """Log uncaught errors of all threads and destructors, and warnings. Safe to repeat."""
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
    """The file, line and function that raised the error, or the first error of a group."""
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
    """A logging filter that drops no record. Errors among arguments become their type; asyncio's texts end early."""
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
