"""A customer's field is named in few places, and CONTRIBUTING.md lists them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = (ROOT / "services", ROOT / "shared" / "src")
FIELD = re.compile(r"\bcity_id\b")


def naming() -> dict[str, int]:
    """How many lines of each source file name the field, migrations apart."""
    files = [file for folder in SOURCES for file in folder.rglob("*.py") if "migrations" not in file.parts]
    lines = {
        str(file.relative_to(ROOT)): len(list(filter(FIELD.search, file.read_text().splitlines()))) for file in files
    }
    return {path: count for path, count in lines.items() if count}


def test_a_field_is_named_in_at_most_twenty_lines_of_eight_files() -> None:
    assert sum(naming().values()) <= 20
    assert len(naming()) <= 8


def test_the_page_lists_every_file_that_names_a_field() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    section = page.partition("## To add a customer field")[2].partition("\n## ")[0]

    assert [path for path in naming() if f"`{path}`" not in section] == []
