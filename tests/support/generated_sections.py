"""The tables inside hand-written pages that are made from the code; `make contracts` writes them.

A page marks the place of a table with `<!-- generated: NAME -->` and `<!-- end -->`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from vapteke_shared.contract import topics
from vapteke_shared.contract.scopes import SCOPES
from vapteke_shared.contract.topics import Topic

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (ROOT / "docs" / "api.md", ROOT / "docs" / "events.md")
_SECTION = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_DAY_MS: Final = 24 * 3600 * 1000


def files(openapi: Iterable[Mapping[str, Any]]) -> dict[Path, str]:
    """The text of each page; `openapi` are the documents of the services."""
    sections = {"calls": _calls(openapi), "scopes": _scopes(), "topics": _topics(), "events": _events()}
    return {
        page: _SECTION.sub(lambda found: found[1] + sections[found[2]] + found[3], page.read_text()) for page in PAGES
    }


def _calls(openapi: Iterable[Mapping[str, Any]]) -> str:
    rows = [row for document in openapi for row in _operations(document)]
    return _table(("call", "scope", "does"), rows)


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            [security] = operation["security"]
            yield f"`{method.upper()} {path}`", f"`{security['bearer'][0]}`", operation["summary"]


def _scopes() -> str:
    return _table(("scope", "allows to"), [(f"`{scope}`", meaning) for scope, meaning in SCOPES.items()])


def _topics() -> str:
    rows = [(f"`{topic.name}`", topic.key, _route(topic), str(topic.partitions), _kept(topic)) for topic in topics.ALL]
    return _table(("topic", "key", "from → to", "partitions", "kept"), rows)


def _route(topic: Topic) -> str:
    return f"{topic.producer} → {', '.join(topic.consumers)}"


def _kept(topic: Topic) -> str:
    if topic.config["cleanup.policy"] == "compact":
        deleted_for = int(topic.config["delete.retention.ms"]) // _DAY_MS
        return f"the latest record of each key; a null value for {deleted_for} days"
    return f"{int(topic.config['retention.ms']) // _DAY_MS} days"


def _events() -> str:
    """The events of every topic, each with its JSON Schema."""
    rows = [
        (f"[`{kind.type}`](../shared/schemas/{kind.type}.v1.json)", f"`{topic.name}`", _first_line(kind))
        for topic in topics.ALL
        for kind in topic.events
    ]
    return _table(("`ce_type`", "topic", "meaning"), rows)


def _first_line(kind: type) -> str:
    """The first sentence of the docstring."""
    return " ".join((kind.__doc__ or "").split()).partition(". ")[0].removesuffix(".") + "."


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, *rows)]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:], ""])
