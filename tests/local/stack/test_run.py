"""`vapteke run`: which variables a command of a service gets."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STACK = {
    "legacy-importer": {
        "VAPTEKESYNC_HOST": "127.0.0.1",
        "VAPTEKESYNC_DB": "shop",
        "VAPTEKESYNC_USER": "importer",
        "VAPTEKESYNC_TABLE": "Customers",
    },
    "customers-api": {
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": "1",
        "POSTGRES_DB": "customers",
        "POSTGRES_USER": "customers",
        "POSTGRES_PASSWORD": "secret",
    },
}


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """The file in which a running stack describes itself."""
    file = tmp_path / "ready.json"
    file.write_text(json.dumps({"variables": STACK}))
    return file


def run(ready: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    given = [Path(sys.executable).parent / "vapteke", "run", "--ready", ready, "--", *command]
    return subprocess.run(given, env={**os.environ, **variables}, capture_output=True, text=True, check=False)


def test_the_callers_variables_win(ready: Path) -> None:
    script = run(ready, "legacy-importer", "doctor", "--sql", VAPTEKESYNC_TABLE="Clients").stdout

    assert "GRANT SELECT ON [dbo].[Clients] TO [importer];" in script


def test_postgres_is_always_that_of_the_stack(ready: Path) -> None:
    ended = run(ready, "customers-api", "import", POSTGRES_PORT="2")

    assert "Postgres at 127.0.0.1:1 cannot be reached" in ended.stderr
