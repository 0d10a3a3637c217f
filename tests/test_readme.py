"""The README explains every scope, and the Russian README says the same."""

import re
from pathlib import Path
from typing import Any

from vapteke_shared.contract.scopes import SCOPES

README = Path(__file__).parent.parent / "README.md"
RUSSIAN = README.with_name("README.ru.md")
IN_RUSSIAN = {"required": "обязательна", "as in `settings.py`": "как в `settings.py`"}
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


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
