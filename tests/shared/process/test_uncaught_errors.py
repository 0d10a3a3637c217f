"""What a process says of errors that nobody caught: types and places, never a value."""

import itertools
import json
import subprocess
import sys

import pytest

NAME = "Акакий Выдуманов"
PROGRAM = f"""
import asyncio, gc, logging, sys, threading, warnings
from vapteke_shared.process import lifecycle, logs
from vapteke_shared.process.settings import Settings

NAME = {NAME!r}
log = logs.get("test")

class Customer(Exception):
    pass

def fail(*_):
    raise Customer(NAME)

async def failing(name):
    fail()

class Ending:
    def __del__(self):
        fail()

async def grouped():
    async with asyncio.TaskGroup() as group:
        group.create_task(failing(NAME))

def caught():
    try:
        fail()
    except Customer as error:
        return error

async def main(settings, stopping):
    for how in sys.argv[1:]:
        log.info("begin", how=how)
        await happen(how)

async def happen(how):
    loop = asyncio.get_running_loop()
    if how == "task":
        task = asyncio.create_task(failing(NAME), name=NAME)
        await asyncio.wait([task])
        del task
        gc.collect()
    elif how == "callback":
        loop.call_soon(fail, NAME)
        await asyncio.sleep(0.1)
    elif how == "handler":
        loop.call_exception_handler({{"message": "Customer <" + NAME, "exception": caught(), "more": NAME}})
    elif how == "thread":
        thread = threading.Thread(target=fail, args=[NAME], name=NAME)
        thread.start()
        thread.join()
    elif how == "destructor":
        Ending()
    elif how == "warning":
        warnings.warn("Customer " + NAME)
        warnings.warn(NAME, RuntimeWarning)
    elif how == "main":
        fail()
    elif how == "cause":
        try:
            fail()
        except Customer as error:
            raise RuntimeError(NAME) from error
    elif how == "group":
        await grouped()
    elif how == "library":
        for library in ("uvicorn.error", "asyncio", "faststream", "aiokafka.consumer", "sqlalchemy"):
            logging.getLogger(library).error("failed: %s", caught())
            logging.getLogger(library).error("failed", exc_info=caught())
    elif how == "format":
        logging.getLogger("uvicorn.error").error("failed: %d Customer", NAME)
    elif how == "ours":
        log.error("failed", exc_info=caught())
        log.error("failed", reason=caught())
        try:
            fail()
        except Customer:
            log.exception("failed")

lifecycle.run(Settings, main)
"""
ENDED_BY = {"main": "Customer", "cause": "RuntimeError", "group": "ExceptionGroup(Customer)"}
SURVIVED = {
    "task": "Customer",
    "callback": "Customer",
    "handler": "Customer",
    "thread": "Customer",
    "destructor": "Customer",
    "warning": "RuntimeWarning",
    "library": "Customer",
    "ours": "Customer",
    "format": "",
}


@pytest.mark.parametrize("happening", [SURVIVED, *({how: name} for how, name in ENDED_BY.items())])
def test_an_error_is_logged_by_its_type_without_values(happening: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *happening], capture_output=True, text=True, timeout=100)

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert not [part for part in ("Акакий", "\\u0410") if part in done.stdout + done.stderr]
    assert done.stderr == ""
    assert done.returncode == (0 if happening is SURVIVED else 1)
    for how, name in happening.items():
        start = next(number for number, line in enumerate(lines) if line.get("how") == how)
        said = list(itertools.takewhile(lambda line: "how" not in line, lines[start + 1 :]))
        assert [line for line in said if name in line.values()] or how == "format", (how, said)
    if happening is not SURVIVED:
        assert (lines[-1]["event"], lines[-1]["level"]) == ("uncaught error", "critical")
        assert lines[-1]["at"].startswith("<string>:")
