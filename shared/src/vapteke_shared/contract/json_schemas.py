"""The published JSON Schemas of the events, and the check whether a change to one is compatible.

A published schema stays valid: old consumers read new events, and new consumers read the old events that a topic keeps.
Titles, descriptions and examples may change, an optional field may be added at any depth, and a name may be added to
an open list (`x-extensible-enum`). Any other change, and the removal of an event type, needs a new version of the
topic. A new event type has a file of its own.
"""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from vapteke_shared.contract import topics
from vapteke_shared.contract.events import customers
from vapteke_shared.contract.events.event import KNOWN_NAMES, Event
from vapteke_shared.contract.topics import Topic

Schema = Mapping[str, Any]

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_WORDS: Final = {"$id", "$schema", "title", "description", "examples"}
_OPENED: Final = ("changed", "unusable", "reasons")
"""The fields whose list of names was closed at first (docs/decisions.md, 33)."""
_TYPICAL: Final[Mapping[type[Event], Mapping[str, Any]]] = {
    customers.CustomerCreated: {
        "version": 1,
        "changed": [name for name in customers.CHANGED_FIELDS if name != "deleted_at"],
        "updated_at": "2023-12-21T04:20:37.024Z",
    },
    customers.CustomerPhoneChanged: {"changed": ["phone"]},
    customers.CustomerDeleted: {"changed": ["deleted_at"], "deleted_at": "2026-01-02T03:04:05.678Z"},
    customers.CustomerRestored: {"changed": ["deleted_at"]},
}


def published() -> dict[str, Schema]:
    """The schema, as it is now, of every event type of `topics.ALL`, by file name without the folder."""
    pairs = [(topic, kind) for topic in topics.ALL for kind in topic.events]
    return {f"{kind.type}.{topic.version}.json": _whole(topic, kind) for topic, kind in pairs}


def body(kind: type[Event]) -> dict[str, Any]:
    """The schema of one event type. Raises NotImplementedError if a field refers to the schema of another class."""
    _, components = msgspec.json.schema_components([kind])
    schema: dict[str, Any] = _portable(components.pop(kind.__name__))
    if components:
        raise NotImplementedError(f"{kind.__name__} refers to {', '.join(components)}")
    # before Python 3.13, a docstring keeps its indentation
    return {**schema, "title": kind.type, "description": inspect.getdoc(kind), "examples": [example(kind)]}


def example(kind: type[Event]) -> dict[str, Any]:
    """An example event: the first example of each field, or the value that is typical of the event's type."""
    _, components = msgspec.json.schema_components([kind])
    fields = components[kind.__name__]["properties"]
    return {name: field["examples"][0] for name, field in fields.items()} | dict(_TYPICAL.get(kind, {}))


def _whole(topic: Topic, kind: type[Event]) -> Schema:
    number = topic.version.removeprefix("v")
    return {"$schema": _DRAFT, "$id": f"urn:{kind.type.replace('.', ':', 1)}:{number}", **body(kind)}


def _portable(part: Any) -> Any:
    """A copy with `$` for Python's end of text, `\\Z`, in patterns: in JSON Schema's dialect `\\Z` is the letter Z."""
    if isinstance(part, dict):
        return {
            name: each.replace(r"\Z", "$") if name == "pattern" and isinstance(each, str) else _portable(each)
            for name, each in part.items()
        }
    return [_portable(each) for each in part] if isinstance(part, list) else part


def opened(old: Schema) -> Schema:
    """A copy of an earlier schema in which every list of field names is open, as it is today.

    These are the lists in the fields of `_OPENED`. A list that was open already is not changed. Pass the copy to
    `incompatibilities` as `old`, which would otherwise report the opening of these lists.
    """
    fields = {name: _opened(field) if name in _OPENED else field for name, field in old.get("properties", {}).items()}
    return {**old, "properties": fields} if fields else old


def _opened(field: Schema) -> Schema:
    if "items" in field:
        return {**field, "items": {"type": "string", **_open_list(field["items"])}}
    if "propertyNames" not in field:
        return field
    names = {"propertyNames": _open_list(field["propertyNames"])}
    if "anyOf" not in field:
        return {**field, **names}
    dictionary, null = field["anyOf"]
    rest = {word: each for word, each in field.items() if word != "propertyNames"}
    return {**rest, "anyOf": [{**dictionary, **names}, null]}


def _open_list(names: Schema) -> Schema:
    today = _portable(msgspec.json.schema(customers.ChangedField))
    return {"pattern": today["pattern"], KNOWN_NAMES: names["enum"]} if "enum" in names else names


def incompatibilities(old: Any, new: Any, path: str = "$") -> Iterator[str]:
    """Yield a line for each incompatible change from the schema `old` to the schema `new`; none if all are compatible.

    `path` is where both parts are in the whole schema.
    """
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from incompatibilities(*pair, f"{path}[{number}]")
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for word in sorted((old.keys() | new.keys()) - _WORDS - {"properties", "required"}):
            compare = _names if word == KNOWN_NAMES and word in old and word in new else incompatibilities
            yield from compare(old.get(word), new.get(word), f"{path}.{word}")
        yield from _fields(old, new, path)
    elif old != new or type(old) is not type(new):
        yield f"{path} was {old!r}, is {new!r}"


def _names(old: Any, new: Any, path: str) -> Iterator[str]:
    yield from (f"{path}: the name {name} is gone" for name in old if name not in new)


def _fields(old: Schema, new: Schema, path: str) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    required, now_required = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"{path}: the field {name} is gone"
        elif name in now_required - required:
            yield f"{path}: the field {name} is required now, but events without it exist"
        elif name in required - now_required:
            yield f"{path}: the field {name} is no longer required, but consumers rely on it"
        if name in before and name in after:
            yield from incompatibilities(before[name], after[name], f"{path}.properties.{name}")
