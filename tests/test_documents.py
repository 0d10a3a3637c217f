"""The documents hold: both languages say the same, links and paths resolve, tables name what the code has."""

import ast
import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import contracts
import documents
import pytest
from documents import PAGES, ROOT
from vapteke_shared.contract import limits
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.customers import CustomerEvent, CustomerPhoneChanged
from vapteke_shared.process.request_limits import MAX_HEADER_BYTES, MAX_HEADERS, MAX_LINE_BYTES

TRANSLATED = [page for page in PAGES if page.name.endswith(".ru.md")]
API = ROOT / "docs/api.md"
LINK = re.compile(r"\]\(([^)\s]+)\)")
TOP_LEVEL = {"deploy", "docs", "services", "shared", "tests"}
CORS_REFUSED = ("400", "cors_refused")
"""The status is Starlette's; the source has no number beside the code."""
FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)*\.(?:py|sql|md|yml|toml|json|conf|lock)")
ELSEWHERE = {"deploy/k8s/overlays/dev/secrets", "docker-compose.override.yml", "uv.lock"}
"""Made by a command or by the reader, or not used on purpose."""


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def quoted(page: Path) -> list[str]:
    return documents.quoted(documents.prose(page))


def test_pages_are_translated() -> None:
    assert [named(page) for page in TRANSLATED] == ["README.ru.md", "docs/api.ru.md", "docs/operate.ru.md"]


@pytest.mark.parametrize("path", TRANSLATED, ids=named)
def test_a_translation_has_the_same_code_blocks(path: Path) -> None:
    assert documents.blocks(path) == documents.blocks(original(path))


@pytest.mark.parametrize("path", TRANSLATED, ids=named)
def test_a_translation_has_the_same_headings(path: Path) -> None:
    assert found(r"^#+ ", path) == found(r"^#+ ", original(path))


@pytest.mark.parametrize("path", TRANSLATED, ids=named)
def test_a_translation_has_the_same_figures_and_names_in_its_tables(path: Path) -> None:
    assert table_rows(path) == table_rows(original(path))


@pytest.mark.parametrize("path", TRANSLATED, ids=named)
def test_a_translation_has_the_same_names_in_its_text(path: Path) -> None:
    assert set(quoted(path)) == set(quoted(original(path)))


def original(path: Path) -> Path:
    return path.with_name(path.name.replace(".ru.", "."))


def found(pattern: str, path: Path) -> list[str]:
    return re.findall(pattern, documents.prose(path), re.MULTILINE)


def table_rows(path: Path) -> list[list[str]]:
    """The names, figures and column borders of each row."""
    return [sorted(re.findall(r"`[^`]+`|[\d|]", row)) for row in found(r"^\|.*", path)]


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_link_of_a_page_leads_somewhere(path: Path) -> None:
    links = [link for link in LINK.findall(documents.prose(path)) if not link.startswith(("http:", "https:"))]

    assert [link for link in links if not resolves(path, link)] == []


def resolves(page: Path, link: str) -> bool:
    target, _, anchor = link.partition("#")
    file = page.parent / target if target else page
    return file.exists() and (not anchor or anchor in documents.anchors(file))


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_path_that_a_page_names_exists(path: Path) -> None:
    assert [name for name in paths(path) if not list(ROOT.glob(name.rstrip("/")))] == []


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_file_that_a_page_names_exists(path: Path) -> None:
    assert [name for name in words(path) if FILE.fullmatch(name) and not is_a_file(name)] == []


def paths(page: Path) -> list[str]:
    """The names that begin with a folder of the repository."""
    return [word for word in words(page) if word.split("/")[0] in TOP_LEVEL and "/" in word]


def words(page: Path) -> list[str]:
    """What the page has in backticks, without the arguments of a command and without patterns of names."""
    first_words = [name.split()[0].partition("::")[0] for name in quoted(page)]
    return [word for word in first_words if not re.search(r"[…<>{}$]", word) and word not in ELSEWHERE]


def is_a_file(name: str) -> bool:
    """Whether a file of the repository has this name or ends in this path."""
    return any(f"/{file}".endswith(f"/{name}") for file in tracked())


@cache
def tracked() -> list[str]:
    shown = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return shown.split() or [path.relative_to(ROOT).as_posix() for path in ROOT.glob("**/*") if path.is_file()]


def test_the_table_of_problems_is_that_of_the_code() -> None:
    rows = found(r"^\| (\d{3}) \| `(\w+)` \|", API)

    assert sorted(rows) == sorted(codes() | {CORS_REFUSED})
    assert len(rows) == len(set(rows))


def codes() -> set[tuple[str, str]]:
    """Status and code of every problem in the source: they are neighbours wherever a problem is made."""
    sources = [path for folder in ("services", "shared") for path in ROOT.glob(f"{folder}/**/src/**/*.py")]
    pairs = [pair for path in sources for node in ast.walk(ast.parse(path.read_text())) for pair in problems(node)]
    return {(str(status), code) for status, code in pairs}


def problems(node: ast.AST) -> Iterator[tuple[int, str]]:
    values = node.args if isinstance(node, ast.Call) else []
    for left, right in itertools.pairwise(values):
        match left, right:
            case ast.Constant(value=int(status)), ast.Constant(value=str(code)) if 400 <= status < 600:
                yield status, code
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            match key, value:
                case ast.Constant(value=int(status)), ast.Tuple(elts=[ast.Constant(value=str(code)), _]):
                    yield status, code


def test_the_steps_for_a_customer_field_name_every_file_with_the_example_field() -> None:
    steps = documents.quoted(documents.section(ROOT / "CONTRIBUTING.md", "To add a customer field"))
    sources = [path for folder in ("services", "shared") for path in ROOT.glob(f"{folder}/**/src/**/*.py")]
    with_field = [named(path) for path in sources if re.search(r"\bcity_id\b", path.read_text())]

    assert [path for path in with_field if path not in steps and "/migrations/" not in path] == []


def test_every_make_target_is_explained_to_contributors() -> None:
    targets = re.findall(r"^([a-z]+):[^#\n]*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    rows = documents.table_rows(ROOT / "CONTRIBUTING.md", "Commands")[2:]

    assert {row[0] for row in rows} == {f"`make {target}`" for target in targets}


def test_the_example_of_an_event_is_one() -> None:
    page = (ROOT / "docs/events.md").read_text()
    [record] = re.findall(r"^topic .*?(?=^```)", page, re.MULTILINE | re.DOTALL)
    headers = [(name, value.encode()) for name, value in re.findall(r"(ce_\w+|content-type): (.*)", record)]
    value = record[record.index("{") :].encode()

    event = codec.decode(value, headers)

    assert isinstance(event, CustomerPhoneChanged)
    assert {name for name, _ in headers} == {name for name, _ in codec.headers(event, "customers-api", str(event.id))}
    assert set(json.loads(value)) == set(event.__struct_fields__)


def test_every_field_of_a_customers_event_is_explained() -> None:
    rows = documents.table_rows(ROOT / "docs/events.md", "One record")[2:]

    assert [name for row in rows for name in documents.quoted(row[0])] == list(CustomerEvent.__struct_fields__)


def test_the_limits_that_the_page_of_the_api_names_are_those_of_the_code() -> None:
    stated = [
        f"{limits.PAGE_ITEMS_DEFAULT} if absent",
        f"1 to {limits.PAGE_ITEMS},",
        f"Up to {limits.IDS_PER_REQUEST:,} phones",
        f"up to {limits.IDS_PER_REQUEST:,} items of one customer",
        f"which of up to {limits.ITEMS_PER_CHECK} items",
        f"query: {limits.QUERY_PARAMETERS:,} parameters",
        f"body: {limits.BODY_BYTES // 1024} KiB",
        f"1 to {limits.NAME_CHARACTERS} characters",
        f"at most {limits.EMAIL_CHARACTERS} characters",
        f"from {limits.FIRST_BIRTHDAY} to today",
        f"the first {limits.MARKS_PER_LETTER} stay",
        f"headers: {MAX_HEADERS}, together {MAX_HEADER_BYTES // 1024} KiB",
        f"request line: {MAX_LINE_BYTES // 1024} KiB",
    ]

    assert [text for text in stated if text not in documents.prose(API)] == []


def test_every_call_of_openapi_has_an_example() -> None:
    """One command of docs/api.md for each operation."""
    commands = [line for block in documents.blocks(API) for line in block.splitlines()]
    calls = [call for app in contracts.apps().values() for call in operations(app.openapi())]

    assert [call for call in calls if not any(is_example(command, *call) for command in commands)] == []


def operations(document: dict[str, dict[str, dict[str, object]]]) -> Iterator[tuple[str, str]]:
    for path, methods in document["paths"].items():
        yield from ((method.upper(), path) for method in methods)


def is_example(command: str, method: str, path: str) -> bool:
    given = re.search(r"-X (\w+)", command)
    address = re.sub(r"\$\{?IMPORT\b\}?", "$CUSTOMERS_API/rest/v1/imports/{import_id}/", command)
    address = address.replace("$ID", "{customer_id}")
    is_called = re.search(rf'_API{re.escape(path)}(?:["?\s]|$)', address) is not None
    return is_called and method == (given[1] if given else "GET")
