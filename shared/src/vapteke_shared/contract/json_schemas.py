"""The events' JSON Schemas, as published, and which changes of them are compatible.

What a schema says stays as it is: old consumers read new events, and new consumers the old events that a topic keeps.
Words may change (titles, descriptions, examples), and a field that is not required may be added, at any depth.
Anything else, and the end of an event type, is a new version of the topic; a new event type is a file of its own.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args

import msgspec

from vapteke_shared.contract import topics
from vapteke_shared.contract.events import customers
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.topics import Topic

Schema = Mapping[str, Any]

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_WORDS: Final = {"$id", "$schema", "title", "description", "examples"}
_TYPICAL: Final[Mapping[type[Event], Mapping[str, Any]]] = {
    customers.CustomerCreated: {
        "version": 1,
        "changed": [name for name in get_args(customers.ChangedField) if name != "deleted_at"],
        "updated_at": "2023-12-21T04:20:37.024Z",
    },
    customers.CustomerPhoneChanged: {"changed": ["phone"]},
    customers.CustomerDeleted: {"changed": ["deleted_at"], "deleted_at": "2026-01-02T03:04:05.678Z"},
    customers.CustomerRestored: {"changed": ["deleted_at"]},
}


def published() -> dict[str, Schema]:
    """Every event type's schema, by the name of its file."""
    pairs = [(topic, kind) for topic in topics.ALL for kind in topic.events]
    return {f"{kind.type}.{topic.version}.json": _whole(topic, kind) for topic, kind in pairs}


def body(kind: type[Event]) -> dict[str, Any]:
    """One event type's schema; it refers to nothing outside itself."""
    _, components = msgspec.json.schema_components([kind])
    schema: dict[str, Any] = _portable(components.pop(kind.__name__))
    if components:
        raise NotImplementedError(f"{kind.__name__} refers to {', '.join(components)}")
    return {**schema, "title": kind.type, "examples": [example(kind)]}


def example(kind: type[Event]) -> dict[str, Any]:
    """An event as it could be: its fields' own examples, and what is typical of its type."""
    _, components = msgspec.json.schema_components([kind])
    fields = components[kind.__name__]["properties"]
    return {name: field["examples"][0] for name, field in fields.items()} | dict(_TYPICAL.get(kind, {}))


def _whole(topic: Topic, kind: type[Event]) -> Schema:
    number = topic.version.removeprefix("v")
    return {"$schema": _DRAFT, "$id": f"urn:{kind.type.replace('.', ':', 1)}:{number}", **body(kind)}


def _portable(part: Any) -> Any:
    """Python's end of text, `\\Z`, is JavaScript's letter Z: as JSON Schema has it, it is `$`."""
    if isinstance(part, dict):
        return {
            name: each.replace(r"\Z", "$") if name == "pattern" and isinstance(each, str) else _portable(each)
            for name, each in part.items()
        }
    return [_portable(each) for each in part] if isinstance(part, list) else part


def incompatibilities(old: Any, new: Any, place: str = "$") -> Iterator[str]:
    """Why consumers of the one schema cannot read events of the other, one line each; none: they can."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from incompatibilities(*pair, f"{place}[{number}]")
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for word in sorted((old.keys() | new.keys()) - _WORDS - {"properties", "required"}):
            yield from incompatibilities(old.get(word), new.get(word), f"{place}.{word}")
        yield from _fields(old, new, place)
    elif old != new or type(old) is not type(new):
        yield f"{place} was {old!r}, is {new!r}"


def _fields(old: Schema, new: Schema, place: str) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    required, now_required = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"{place}: the field {name} is gone"
        elif name in now_required - required:
            yield f"{place}: the field {name} is required now: events without it are about"
        elif name in required - now_required:
            yield f"{place}: the field {name} is not required any more: consumers count on it"
        if name in before and name in after:
            yield from incompatibilities(before[name], after[name], f"{place}.properties.{name}")
