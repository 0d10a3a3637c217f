"""A reference to a section of a document, in the code or on a page, names the page and a heading that is on it."""

import re
from pathlib import Path

import documents
import pytest
from documents import PAGES, ROOT

REFERENCE = re.compile(r'(?<![\w.])((?:[\w.-]+/)*[\w-][\w.-]*\.md)\b(?:, "([^"]+)")?')
LINK_AND_HEADING = re.compile(r"\]\(([^)\s]+)\), [\"«]([^\"»]+)[\"»]")
WITHOUT_A_FILE = re.compile(r"\b(?:design|contract)(?:\.md)?, (?:section )?(?:\d|[A-Z])")
FILES = list(documents.source_files())
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


def test_every_reference_leads_to_a_heading() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {name} {heading}"
        for path in FILES
        for name, heading in REFERENCE.findall(one_line(path))
        if not is_there(name, heading)
    ]

    assert broken == []


def test_no_reference_leaves_out_the_file() -> None:
    found = [str(path.relative_to(ROOT)) for path in FILES if WITHOUT_A_FILE.search(one_line(path))]

    assert found == []


def is_there(name: str, heading: str) -> bool:
    """A page may be named by the last parts of its path."""
    path = "/" + name.lstrip("./")
    pages = [page for page in PAGES if f"/{page.relative_to(ROOT)}".endswith(path)]
    if not heading:
        return bool(pages)
    return any(heading in documents.headings(page) for page in pages)


def one_line(path: Path) -> str:
    """The text with its line breaks, and the signs of comments after them, taken out."""
    try:
        return re.sub(r"\s*\n\s*(?:# )?", " ", path.read_text())
    except UnicodeDecodeError:
        return ""


@pytest.mark.parametrize("name", ["docs/design.md", "docs/contract.md", "docs/operate.md"])
def test_no_document_has_two_headings_of_one_name(name: str) -> None:
    headings = documents.headings(ROOT / name)

    assert sorted(headings) == sorted(set(headings))


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_a_heading_that_is_named_after_a_link_is_on_that_page(page: Path) -> None:
    named = LINK_AND_HEADING.findall(documents.prose(page))

    assert [pair for pair in named if pair[1] not in documents.headings((page.parent / pair[0]).resolve())] == []


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_test_that_is_named_exists(page: Path) -> None:
    defined = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    named = [name for name in documents.quoted(documents.prose(page)) if re.fullmatch(r"test_\w+", name)]

    assert [name for name in named if name not in defined] == []
