"""Logging: one JSON object per line on standard output, for our own log records and those of libraries."""

import logging
import sys

import structlog

from vapteke_shared.process import uncaught_errors

_QUIET = ("aiokafka", "faststream", "httpx", "uvicorn.access")
_REPEATED_AFTER_SECONDS, _REMEMBERED = 300.0, 100


class KafkaNoise(logging.Filter):
    """A logging filter for aiokafka and FastStream, whose log lines repeat while a broker is unavailable.

    The filter drops each of their lines that begins with `Unable `, or that was logged with the same text in the last
    five minutes. Lines of other loggers pass. Our own code (`Health`, `kafka_clients.retry`) logs once why Kafka cannot
    be used.
    """

    def __init__(self) -> None:
        super().__init__()
        self._logged: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(("aiokafka", "faststream")):
            return True
        text = record.getMessage()
        if text.startswith("Unable "):
            return False
        if record.created - self._logged.get(text, 0) < _REPEATED_AFTER_SECONDS:
            return False
        others = [entry for entry in self._logged.items() if entry[0] != text]
        self._logged = {text: record.created, **dict(others[: _REMEMBERED - 1])}
        return True


def configure(level: str) -> None:
    """Set up logging for the process from `level` up, and the logging of uncaught errors.

    aiokafka, FastStream, httpx and uvicorn's access log never log below WARNING. An error that is passed as `exc_info`,
    as a field or as an argument is logged without its text and traceback, because they may hold personal data. So never
    put an error's text into a message, except one from `connection_errors.describe`: it would be logged.
    """
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _name_errors,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    handler.addFilter(uncaught_errors.without_values)
    uncaught_errors.install()
    handler.addFilter(KafkaNoise())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _name_errors(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Replace errors in a log record, because the text of an error may hold personal data.

    `exc_info` becomes the fields `error`, the error's type, and `at`, its location. An error in any other field becomes
    its type.
    """
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["error"], event["at"] = uncaught_errors.name(error), uncaught_errors.location(error)
    for key, value in event.items():
        if isinstance(value, BaseException):
            event[key] = uncaught_errors.name(value)
    return event


def get(name: str) -> structlog.stdlib.BoundLogger:
    return structlog.stdlib.get_logger(name)
