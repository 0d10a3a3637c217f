"""Who may import whom: endpoints and consumers know subjects, subjects know tables, services do not know each other."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVICES = {"customers_api", "favorites_api", "legacy_importer"}
# each module may import those in the lines above its own
LAYERS = {
    "customers_api": [
        {"schema", "leader", "imports.fields"},
        {"schedule.times"},
        {"settings"},
        {"outbox.tables", "outbox.messages", "outbox.oldest_rows"},
        {"outbox.relay"},
        {"customers.tables", "customers.fields", "customers.etags", "customers.path_convertor"},
        {"customers.request_models", "customers.response_models", "customers.list_parameters"},
        {"customers.customer_events", "customers.queries"},
        {"customers.phone_owners", "customers.republish"},
        {"customers.writes"},
        {"customers.restorations"},
        {"customers.endpoints", "customers.list_endpoints"},
        {
            "imports.tables",
            "imports.row_tables",
            "imports.text_rule",
            "imports.decoding",
            "imports.mirror_orphans",
            "imports.waiting_deletions",
            "imports.old_details",
            "imports.folding",
            "imports.outcomes",
        },
        {"imports.response_models", "imports.list_parameters", "imports.admissions", "imports.state"},
        {"imports.request_models"},
        {"imports.waiting_for", "imports.plan_warnings", "imports.field_rules", "imports.finite_dates"},
        {"imports.queries", "imports.rules", "imports.gone_rows", "imports.stored_ranges"},
        {"imports.differences"},
        {
            "imports.writes",
            "imports.batch_state",
            "imports.batch_writes",
            "imports.counts",
            "imports.jobs",
            "imports.row_outcomes",
            "imports.old_details",
        },
        {"imports.tasks", "imports.apply", "imports.verdicts"},
        {"imports.progress", "imports.row_imports"},
        {"imports.repairs"},
        {"imports.legacy_batches", "imports.display"},
        {"schedule.tables", "schedule.steps", "schedule.queries", "schedule.response_models"},
        {"schedule.writes"},
        {"schedule.scheduler", "schedule.endpoints"},
        {
            "imports.endpoints",
            "imports.deletion_endpoints",
            "imports.difference_endpoints",
            "imports.row_endpoints",
            "imports.command",
            "imports.consumers",
        },
        {"imports.sweeper", "imports.reread_customers"},
        {"tables"},
        {"app"},
    ],
    "legacy_importer": [
        {"odbc_driver", "odbc_options", "values", "columns"},
        {"settings"},
        {"translate", "publisher", "import_states"},
        {"socket_shutdown", "legacy_errors"},
        {"connection_string", "port_check", "tls_diagnosis"},
        {"connection"},
        {"login", "column_types"},
        {"fingerprints"},
        {"legacy"},
        {"table_check", "changes_plan"},
        {"doctor.findings", "doctor.queries", "doctor.admin_script"},
        {"doctor.subject"},
        {"doctor.server_checks", "doctor.table_checks", "doctor.data_checks", "doctor.kafka_checks"},
        {"doctor.examination"},
        {"importer"},
        {"task_consumer"},
        {"cli"},
    ],
    "favorites_api": [
        {"tables"},
        {"request_models", "response_models", "list_parameters", "favorites", "deleted_customers"},
        {"endpoints", "consumer"},
        {"app"},
    ],
}


# packages of vapteke_shared: each may import those before it; what lies beside them may import all
ROOMS = ["contract", "process", "postgres", "messaging", "http"]
SHARED = ROOT / "shared/src/vapteke_shared"
# the same of vapteke_local, and of its stand-in for vAptekeSync
LOCAL_ROOMS = ["machine", "people", "servers", "vaptekesync", "stack", "demo", "cli"]
STAND_IN_ROOMS = ["types", "table", "protocol", "sql", "session", "server"]
LOCAL = ROOT / "deploy/local/src/vapteke_local"


def sources() -> Iterator[tuple[str, str, Path]]:
    """The service, the module's name within it, and its file."""
    for source in [*ROOT.glob("services/*/src"), ROOT / "shared/src"]:
        for path in source.rglob("*.py"):
            package, *names = path.relative_to(source).with_suffix("").parts
            if "migrations" not in names:
                yield package, ".".join(names), path


def imported(path: Path) -> set[str]:
    """Dotted names that the module imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize(
    ("package", "module", "path"), list(sources()), ids=lambda value: "" if isinstance(value, Path) else value
)
def test_a_module_imports_only_what_lies_below_it(package: str, module: str, path: Path) -> None:
    packages = {name.split(".")[0] for name in imported(path)}

    assert not packages & SERVICES - {package}
    if package in LAYERS and path.stem != "__init__":
        own = {name.removeprefix(f"{package}.") for name in imported(path) if name.startswith(f"{package}.")}
        assert {_module(package, name) for name in own} <= _below(package, module)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_of_shared_imports_only_those_before_it(room: str) -> None:
    names = {name for path in (SHARED / room).rglob("*.py") for name in imported(path)}
    rooms = {name.split(".")[1] for name in names if name.startswith("vapteke_shared.")}

    assert rooms <= {*ROOMS[: ROOMS.index(room) + 1]}


def test_every_folder_of_shared_is_a_room() -> None:
    assert {path.parent.name for path in SHARED.glob("*/__init__.py")} == set(ROOMS)


def test_the_importer_needs_neither_fastapi_nor_postgres_nor_tokens() -> None:
    heavy = ["fastapi", "fastapi_standalone_docs", "jwt", "asyncpg", "sqlalchemy", "alembic"]
    program = f"import sys, legacy_importer.cli\nprint([name for name in {heavy} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert loaded.stdout == "[]\n"


def test_every_folder_of_the_local_stack_is_a_room() -> None:
    assert {path.parent.name for path in LOCAL.glob("*/__init__.py")} == set(LOCAL_ROOMS)
    assert {path.parent.name for path in LOCAL.glob("vaptekesync/*/__init__.py")} == set(STAND_IN_ROOMS)


@pytest.mark.parametrize("room", LOCAL_ROOMS)
def test_a_room_of_the_local_stack_imports_only_those_before_it(room: str) -> None:
    assert _rooms_imported(LOCAL / room, "vapteke_local.") <= {*LOCAL_ROOMS[: LOCAL_ROOMS.index(room) + 1]}


@pytest.mark.parametrize("room", STAND_IN_ROOMS)
def test_a_room_of_the_stand_in_imports_only_those_before_it(room: str) -> None:
    imported_rooms = _rooms_imported(LOCAL / "vaptekesync" / room, "vapteke_local.vaptekesync.")

    assert imported_rooms <= {*STAND_IN_ROOMS[: STAND_IN_ROOMS.index(room) + 1]}


def test_no_modules_of_the_local_stack_import_each_other_in_a_circle() -> None:
    modules = {_module_name(path): path for path in LOCAL.rglob("*.py")}
    graph = {
        name: {each if each in modules else each.rpartition(".")[0] for each in imported(path)} & modules.keys()
        for name, path in modules.items()
    }

    order = list(TopologicalSorter(graph).static_order())

    assert set(order) == set(modules)


def test_the_stand_in_needs_the_standard_library_alone() -> None:
    program = "import vapteke_local.vaptekesync.__main__"
    env = {**os.environ, "PYTHONPATH": str(LOCAL.parent)}

    ended = subprocess.run([sys.executable, "-S", "-c", program], env=env, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")


def _rooms_imported(folder: Path, package: str) -> set[str]:
    names = {name for path in folder.rglob("*.py") for name in imported(path)}
    return {name.removeprefix(package).split(".")[0] for name in names if name.startswith(package)}


def _module_name(path: Path) -> str:
    return ".".join(path.relative_to(LOCAL.parent).with_suffix("").parts).removesuffix(".__init__")


def _module(package: str, name: str) -> str:
    """The module of the service that a dotted name within it lies in; the name itself when there is none."""
    modules = set().union(*LAYERS[package])
    parts = name.split(".")
    starts = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next((start for start in starts if start in modules), name)


def _below(package: str, module: str) -> set[str]:
    levels = LAYERS[package]
    level = next(number for number, modules in enumerate(levels) if module in modules)
    return set().union(*levels[:level])
