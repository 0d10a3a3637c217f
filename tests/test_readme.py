"""The README's table of variables is the settings' own."""

from pathlib import Path

from customers_api.settings import ServeSettings
from customers_api.settings import WorkSettings as CustomersWorkSettings
from legacy_importer.settings import Columns, Genders
from legacy_importer.settings import WorkSettings as ImporterSettings
from pydantic.fields import FieldInfo
from vapteke_shared import settings
from vapteke_shared.settings import PostgresOwnerSettings, Settings
from vapteke_shared.tokens import SCOPES
from vapteke_shared.topics import TopicsSettings

README = Path(__file__).parent.parent / "README.md"
PROCESSES: dict[str, type[Settings]] = {
    "S": ServeSettings,
    "W": CustomersWorkSettings,
    "M": PostgresOwnerSettings,
    "I": ImporterSettings,
    "T": TopicsSettings,
    "F": settings.ServeSettings,
    "G": settings.WorkSettings,
}
ORDER = [
    "secret",
    "auth",
    "postgres",
    "kafka",
    "vaptekesync",
    "mssql",
    "import",
    "imports",
    "http",
    "docs",
    "metrics",
    "log",
]


def test_the_configuration_table_is_that_of_the_settings() -> None:
    assert _table() in README.read_text(), _table()


def test_every_scope_is_explained() -> None:
    rows = [f"| `{scope}` | {meaning} |" for scope, meaning in SCOPES.items()]

    assert "\n".join(rows) in README.read_text()


def _table() -> str:
    needed: dict[str, list[str]] = {}
    fields: dict[str, FieldInfo] = {}
    for process, kind in PROCESSES.items():
        for name, field in kind.model_fields.items():
            needed.setdefault(name, []).append(process)
            fields[name] = field
    names = sorted(needed, key=lambda name: ORDER.index(name.split("_")[0]))
    rows = [
        f"| `{name.upper()}` | {fields[name].description} | {_default(fields[name])} | {' '.join(needed[name])} |"
        for name in names
    ]
    return "\n".join(["| variable | meaning | default | needed by |", "|---|---|---|---|", *rows])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if isinstance(field.default, Columns | Genders):
        return "as in `settings.py`"
    return "" if field.default in (None, "") else str(field.default)
