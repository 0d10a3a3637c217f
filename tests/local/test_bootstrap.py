"""The set-up: when make and deploy/bootstrap repeat it, what they read, and what they ask of a person without root."""

import os
import shutil
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


SETTING_UP, DEMO = "python3 deploy/bootstrap", "exec .venv/bin/vapteke demo --customers 78553"


def loaded(root: Path) -> ModuleType:
    loader = SourceFileLoader("bootstrap", str(root / "deploy/bootstrap"))
    spec = spec_from_loader("bootstrap", loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    return loaded(ROOT)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree that is set up: the files that the set-up depends on, and a virtual environment of one file."""
    root = tmp_path / "our tree"
    services = [f"services/{path.parent.name}" for path in ROOT.glob("services/*/pyproject.toml")]
    projects = [f"{member}/pyproject.toml" for member in ("shared", "deploy/local", *services)]
    for file in ("Makefile", "requirements.lock", "deploy/bootstrap", *projects):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, root / file)
        os.utime(root / file, (1_000_000, 1_000_000))
    (root / ".venv/bin").mkdir(parents=True)
    (root / ".venv/bin/python").symlink_to(sys.executable)
    made = loaded(root)
    made.mark_done(made.COMPLETE, 2_000_000)
    made.mark_done(made.COMPLETE_FOR_TESTS, 2_000_000)
    return root


def planned(root: Path, target: str) -> list[str]:
    """What make would run, whatever the make that runs the tests was asked for."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "CUSTOMERS"))}
    command = ["make", "--dry-run", target, "PYTHON=python3"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_tree_that_is_set_up_and_unchanged_needs_no_set_up(tree: Path) -> None:
    assert planned(tree, "demo") == [DEMO]
    assert loaded(tree).is_done(tree / ".venv/complete")


@pytest.mark.parametrize("changed", ["requirements.lock", "deploy/bootstrap", "shared/pyproject.toml"])
def test_a_changed_file_repeats_the_set_up(tree: Path, changed: str) -> None:
    os.utime(tree / changed, (3_000_000, 3_000_000))

    assert planned(tree, "demo") == [SETTING_UP, DEMO]
    assert planned(tree, "prove")[:2] == [SETTING_UP, f"{SETTING_UP} test"]
    assert not loaded(tree).is_done(tree / ".venv/complete")


@pytest.mark.parametrize("lost", [".venv/complete", ".venv/bin/python"])
def test_an_interrupted_or_damaged_set_up_is_repeated(tree: Path, lost: str) -> None:
    (tree / lost).unlink()

    assert planned(tree, "demo") == [SETTING_UP, DEMO]
    assert not loaded(tree).is_done(tree / ".venv/complete")


def test_a_python_that_is_gone_repeats_the_set_up(tree: Path) -> None:
    (tree / ".venv/bin/python").unlink()
    (tree / ".venv/bin/python").symlink_to("/no/such/python")

    assert planned(tree, "demo") == [SETTING_UP, DEMO]


def test_a_python_without_pip_is_set_up_from_the_beginning(tree: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tree / ".venv"], check=True)
    bootstrap = loaded(tree)

    assert bootstrap.is_whole(bootstrap.COMPLETE)
    assert not bootstrap.is_updatable()


def test_a_moved_tree_repeats_the_set_up(tree: Path) -> None:
    moved = tree.rename(tree.with_name("moved"))

    assert planned(moved, "demo") == [SETTING_UP, DEMO]
    assert not loaded(moved).is_done(moved / ".venv/complete")


def test_what_only_the_tests_need_is_set_up_after_the_rest(tree: Path) -> None:
    (tree / ".venv/complete-for-tests").unlink()

    assert planned(tree, "prove")[0] == f"{SETTING_UP} test"
    assert planned(tree, "demo") == [DEMO]


def test_the_block_of_a_package_ends_with_its_last_hash(bootstrap: ModuleType) -> None:
    block = bootstrap.locked_block(LOCK, "uv")

    assert block == ("uv==0.13.9 ; python_version >= '3.11' \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n")


def test_the_real_lock_has_a_hashed_uv(bootstrap: ModuleType) -> None:
    first, *rest = bootstrap.locked_block((ROOT / "requirements.lock").read_text(), "uv").splitlines()

    assert first.startswith("uv==")
    assert rest
    assert all(line.strip().startswith("--hash=sha256:") for line in rest)


def test_a_lock_without_the_package_ends_the_set_up(bootstrap: ModuleType) -> None:
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


def test_a_python_that_is_too_old_is_an_error() -> None:
    text = (ROOT / "deploy/bootstrap").read_text().replace("OLDEST = (3, 11)", "OLDEST = (4, 0)")

    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env={"PATH": ""}, check=False)

    assert ended.returncode == 1
    assert ended.stderr.startswith("Python 3.11 or later is needed, and this is 3.")
