"""deploy/bootstrap: what it reads from the lock, and what it tells a person without root."""

import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
LOCK = """\
typer==1.0 \\
    --hash=sha256:aa
    # via us
uv==0.13.9 ; python_version >= '3.11' \\
    --hash=sha256:bb \\
    --hash=sha256:cc
    # via us
uvicorn==0.54.0 \\
    --hash=sha256:dd
"""


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    loader = SourceFileLoader("bootstrap", str(ROOT / "deploy/bootstrap"))
    spec = spec_from_loader("bootstrap", loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_block_of_a_package_ends_with_its_last_hash(bootstrap: ModuleType) -> None:
    block = bootstrap.locked_block(LOCK, "uv")

    assert block == ("uv==0.13.9 ; python_version >= '3.11' \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n")


def test_the_real_lock_has_a_hashed_uv(bootstrap: ModuleType) -> None:
    first, *rest = bootstrap.locked_block((ROOT / "requirements.lock").read_text(), "uv").splitlines()

    assert first.startswith("uv==")
    assert rest
    assert all(line.strip().startswith("--hash=sha256:") for line in rest)


def test_a_lock_without_the_package_ends_it(bootstrap: ModuleType) -> None:
    with pytest.raises(SystemExit, match="does not name poetry"):
        bootstrap.locked_block(LOCK, "poetry")


@pytest.mark.parametrize(
    ("manager", "line"),
    [
        ("apt-get", "sudo apt-get install -y --no-install-recommends libodbc2 tdsodbc"),
        ("dnf", "sudo dnf install -y unixODBC freetds-libs"),
        ("apk", "sudo apk add unixodbc freetds"),
        ("brew", "brew install unixodbc freetds"),
    ],
)
def test_each_platform_has_one_line_to_type(bootstrap: ModuleType, manager: str, line: str) -> None:
    assert bootstrap.install_line(manager, ["odbc", "freetds"]) == line


def test_it_names_no_registry() -> None:
    for file in ("deploy/bootstrap", "requirements.lock", "Makefile"):
        assert "://" not in (ROOT / file).read_text(), file


def test_a_python_that_is_too_old_is_told_so() -> None:
    text = (ROOT / "deploy/bootstrap").read_text().replace("OLDEST = (3, 11)", "OLDEST = (4, 0)")

    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env={"PATH": ""}, check=False)

    assert ended.returncode == 1
    assert ended.stderr.startswith("Python 3.11 or later is needed, and this is 3.")
