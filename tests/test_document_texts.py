"""Error texts, metrics and settings that the documents quote match the code."""

import re
from collections.abc import Iterator
from pathlib import Path

import documents
import pytest
from documents import PAGES, ROOT

OPERATE, SERVER, API = (ROOT / "docs" / name for name in ("operate.md", "vaptekesync.md", "api.md"))
PACKAGES = ("legacy_importer", "customers_api", "favorites_api", "vapteke_shared")
SENTENCE = re.compile(r"(?!docker |kubectl |deploy/)[a-z]+( [a-z]+){2,}[:….]?( …)?")
VALUE = re.compile(r"(?: for| in)? \d+ s\b[;,]?|\(.*?\)|…|[A-Z_]{4,}|\b[NM]\b|\b\d[\d.:]*|: | since ")
"""What stands in a text for a value that differs from case to case, or parts it from the rest."""
PYDANTIC = "Field required"
TABLES = [
    (SERVER, "Texts about the connection", 0),
    (SERVER, "Texts about the table", 0),
    (OPERATE, "When a process refuses to start", 0),
    (OPERATE, "Trust an import's verdict", 0),
    (API, "When it waits", 0),
    (API, "When it fails", 1),
]


@pytest.mark.parametrize(("page", "heading", "column"), TABLES, ids=lambda each: getattr(each, "name", str(each)))
def test_every_text_of_the_table_is_in_the_code(page: Path, heading: str, column: int) -> None:
    known = documents.texts_of(PACKAGES)
    rows = documents.table_rows(page, heading)[2:]

    unknown = [part for row in rows for part in parts(row[column]) if part not in known]

    assert unknown == []


def parts(cell: str) -> Iterator[str]:
    """What is fixed in the texts that the cell quotes: at least two words of it."""
    for text in documents.quoted(cell):
        fixed = [part.strip(" :;,") for part in VALUE.split(text)]
        yield from (part for part in fixed if " " in part and part != PYDANTIC)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_sentence_in_backticks_is_in_the_code(page: Path) -> None:
    """Log lines and errors, that is; commands are left out."""
    known = documents.texts_of(PACKAGES)
    sentences = [text for text in documents.quoted(documents.prose(page)) if SENTENCE.fullmatch(text)]

    assert [part for text in sentences for part in parts(f"`{text}`") if part not in known] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_metric_that_is_named_exists(page: Path) -> None:
    known = set(documents.quoted((ROOT / "docs/metrics.md").read_text()))
    packages = {"vapteke_shared", "vapteke_local", "legacy_importer"}
    names = re.findall(r"`((?:vapteke|legacy_importer)_[a-z_]+)[`{]", documents.prose(page))

    assert sorted(set(names) - known - packages) == []
