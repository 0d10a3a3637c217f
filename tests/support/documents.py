"""The documents of the repository, and what they name: headings, links, paths and quoted texts."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*.md"), *ROOT.glob("deploy/k8s/*.md")]
)
SOURCES = ("services", "shared", "deploy", "tests")
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_TEXT_FILES = {".py", ".yaml", ".yml", ".toml", ".sql", ".conf", ".cnf", ".env", ""}
_NOT_OURS = {"node_modules", "__pycache__", ".venv"}


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return _FENCED.sub("", page.read_text())


def blocks(page: Path) -> list[str]:
    return _FENCED.findall(page.read_text())


def headings(page: Path) -> list[str]:
    return _HEADING.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings(page))
    return {heading.replace(" ", "-") for heading in kept}


def table_rows(page: Path, heading: str | None = None) -> list[list[str]]:
    """The cells of each row, of the whole page or of the section under this heading."""
    text = prose(page) if heading is None else section(page, heading)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", text, re.M)]


def section(page: Path, heading: str) -> str:
    """From this heading to the next one. Raises ValueError."""
    text = prose(page)
    start = re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE)
    if start is None:
        raise ValueError(f"{page.name} has no heading {heading}")
    rest = text[start.end() :]
    end = _HEADING.search(rest)
    return rest[: end.start()] if end else rest


def quoted(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def source_files() -> Iterator[Path]:
    """The files that may refer to a document."""
    yield from (ROOT / name for name in ("Makefile", "docker-compose.yml", "pyproject.toml"))
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in _TEXT_FILES and not _NOT_OURS & set(path.parts):
                yield path


@cache
def texts_of(packages: tuple[str, ...]) -> str:
    """All constant texts of the source files of these packages, one a line."""
    folders = [path for path in ROOT.glob("*/*/src/*") if path.name in packages]
    folders += [path for path in ROOT.glob("*/src/*") if path.name in packages]
    return "\n".join(text for folder in folders for path in sorted(folder.rglob("*.py")) for text in _texts(path))


def _texts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
