"""The README's table of variables is the settings' own, and the Russian README says the same."""

import re
from pathlib import Path
from typing import Any

from customers_api.settings import ServeSettings
from customers_api.settings import WorkSettings as CustomersWorkSettings
from legacy_importer.settings import Columns, Genders
from legacy_importer.settings import WorkSettings as ImporterSettings
from pydantic.fields import FieldInfo
from vapteke_shared.contract.scopes import SCOPES
from vapteke_shared.messaging.create_topics import TopicsSettings
from vapteke_shared.process import settings
from vapteke_shared.process.settings import PostgresOwnerSettings, Settings

README = Path(__file__).parent.parent / "README.md"
RUSSIAN = README.with_name("README.ru.md")
IN_RUSSIAN = {"required": "обязательна", "as in `settings.py`": "как в `settings.py`"}
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
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
    "trusted",
    "postgres",
    "kafka",
    "vaptekesync",
    "mssql",
    "import",
    "imports",
    "http",
    "cors",
    "docs",
    "metrics",
    "liveness",
    "log",
]


def test_the_configuration_table_is_that_of_the_settings() -> None:
    assert _table() in README.read_text(), _table()


def test_every_scope_is_explained() -> None:
    rows = [f"| `{scope}` | {meaning} |" for scope, meaning in SCOPES.items()]

    assert "\n".join(rows) in README.read_text()


def test_the_russian_readme_has_the_same_code_blocks() -> None:
    assert FENCED.findall(RUSSIAN.read_text()) == FENCED.findall(README.read_text())


def test_the_russian_readme_has_the_same_headings() -> None:
    assert _found(r"^#+ ", RUSSIAN) == _found(r"^#+ ", README)


def test_the_russian_readme_has_the_same_configuration() -> None:
    row = r"^\| `([A-Z_]+)` \| .* \| (.*) \| ([A-Z ]+) \|$"

    english = [(name, IN_RUSSIAN.get(default, default), needed_by) for name, default, needed_by in _found(row, README)]

    assert english
    assert _found(row, RUSSIAN) == english


def test_the_russian_readme_has_the_same_figures_and_names_in_its_tables() -> None:
    assert _table_rows(RUSSIAN) == _table_rows(README)


def _found(pattern: str, path: Path) -> list[Any]:
    return re.findall(pattern, FENCED.sub("", path.read_text()), re.MULTILINE)


def _table_rows(path: Path) -> list[list[str]]:
    return [sorted(re.findall(r"`[^`]+`|[\d|]", row)) for row in _found(r"^\|.*", path)]


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
    if isinstance(field.default, list):
        return ",".join(map(str, field.default))
    return "" if field.default in (None, "") else str(field.default)
