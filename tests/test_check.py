"""`make check`: the tests that need no server, and no others."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import server_fixtures

TESTS = Path(__file__).parent
WITHOUT_SERVER = "tests/shared/contract/test_texts.py"
WITH_POSTGRES, WITH_KAFKA, WITH_NGINX = (
    "tests/customers_api/outbox/test_messages.py",
    "tests/shared/messaging/test_batch_producer.py",
    "tests/test_gateway.py",
)


def test_make_check_runs_the_tests_that_need_no_server_and_leaves_out_the_others() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYTEST"))}
    few = f"{WITHOUT_SERVER} {WITH_POSTGRES} {WITH_KAFKA} {WITH_NGINX} -v"

    # the lint is long, and `make lint` itself
    done = subprocess.run(
        ["make", "check", "--assume-old=lint", f"PYTHON={sys.executable}"],
        cwd=TESTS.parent,
        env={**environment, "PYTEST_ADDOPTS": few},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert set(re.findall(r"PASSED.* (tests/[^:]+)::", done.stdout)) == {WITHOUT_SERVER}


@pytest.mark.parametrize("start", server_fixtures.WITH_THEIR_OWN)
def test_the_files_that_start_servers_are_where_make_check_leaves_them_out(start: str) -> None:
    assert list(TESTS.glob(f"{start}*"))
