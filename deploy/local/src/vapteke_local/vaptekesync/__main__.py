"""`python -m vapteke_local.vaptekesync`: runs the stand-in as a process of its own, with made-up customers.

The password is in the environment variable VAPTEKESYNC_PASSWORD. SIGTERM and Ctrl-C stop the stand-in.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
import time
from pathlib import Path

from vapteke_local import people
from vapteke_local.vaptekesync.server.start import serve

log = logging.getLogger("vaptekesync")

STOPS = (signal.SIGTERM, signal.SIGINT)


def main() -> None:
    options = _options()
    password = os.environ.get("VAPTEKESYNC_PASSWORD")
    if not password:
        sys.exit("VAPTEKESYNC_PASSWORD is not set")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    for name in STOPS:
        signal.signal(name, lambda *_: sys.exit(0))
    # A million rows stay alive to the end: the garbage collector would only walk through them again and again.
    gc.disable()
    asyncio.run(_run(options, password))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m vapteke_local.vaptekesync", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--control-port", type=int, required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--customers", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--changes", type=Path, help="the journal: a file that keeps changes of rows between runs")
    return parser.parse_args()


async def _run(options: argparse.Namespace, password: str) -> None:
    started = time.monotonic()
    async with serve(
        people.generate(options.seed, options.customers),
        host=options.host,
        port=options.port,
        control_port=options.control_port,
        database=options.database,
        user=options.user,
        password=password,
        changes=options.changes,
    ) as server:
        stopped = asyncio.Event()
        for name in STOPS:
            asyncio.get_running_loop().add_signal_handler(name, stopped.set)
        gc.freeze()
        gc.enable()
        seconds = time.monotonic() - started
        log.info("%d rows on %s:%d after %.1f s", len(server.rows), server.host, server.port, seconds)
        await stopped.wait()


if __name__ == "__main__":
    main()
