"""The events' published schemas: what is valid, which changes of them are refused."""

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from vapteke_shared.contract import json_schemas, topics
from vapteke_shared.contract.events import codec, legacy_customers
from vapteke_shared.contract.events.event import Event

Schema = dict[str, Any]
Change = Callable[[Schema], object]

KINDS = [kind for topic in topics.ALL for kind in topic.events]


def schema() -> Schema:
    return {
        "title": "a",
        "type": "object",
        "properties": {
            "id": {"type": "integer", "minimum": 1, "examples": [1]},
            "name": {"anyOf": [{"type": "string", "maxLength": 100}, {"type": "null"}], "default": None},
            "gender": {"enum": ["F", "M"]},
            "reasons": {"type": "object", "additionalProperties": {"type": "string"}},
            "changed": {"type": "array", "items": {"type": "string", "x-extensible-enum": ["id", "name"]}},
            "phone": {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]},
        },
        "required": ["id", "gender"],
    }


def changed(change: Change) -> list[str]:
    """What is incompatible in the schema after the change."""
    new = schema()
    change(new)
    return list(json_schemas.incompatibilities(schema(), new))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_every_example_in_a_schema_is_a_valid_event(kind: type[Event]) -> None:
    body = json_schemas.body(kind)

    [example] = body["examples"]
    jsonschema.validate(example, body, format_checker=jsonschema.FormatChecker())
    assert isinstance(codec.decode(codec.encode(example), [("ce_type", kind.type.encode())]), kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_every_field_of_an_event_has_a_description_and_valid_examples(kind: type[Event]) -> None:
    for name, field in json_schemas.body(kind)["properties"].items():
        assert field["description"], name
        for example in field["examples"]:
            jsonschema.validate(example, field)


def test_a_schema_file_stands_alone() -> None:
    for name, file in json_schemas.published().items():
        jsonschema.Draft202012Validator.check_schema(file)
        assert f"{file['title']}.v1.json" == name
        assert file["$id"] == f"urn:vapteke:{file['title'].removeprefix('vapteke.')}:1"
        assert file["description"]
        assert "$ref" not in str(file)
        assert r"\Z" not in str(file), "JavaScript reads it as the letter Z"


def test_the_schema_refuses_what_the_decoder_refuses() -> None:
    body = json_schemas.body(legacy_customers.LegacyCustomerRead)
    wrong = {"phone": "7902516311", "chunk": -1, "unusable": {"Password": "word"}, "gender": "X", "firstname": ""}

    for name, value in wrong.items():
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**body["examples"][0], name: value}, body)


@pytest.mark.parametrize(
    "change",
    [
        lambda new: None,
        lambda new: new.update(title="b", description="c", examples=[{}]),
        lambda new: new["properties"]["id"].update(description="b", examples=[2]),
        lambda new: new["properties"].update(email={"type": "string"}),
        lambda new: new["properties"]["phone"]["properties"].update(number={"type": "string"}),
        lambda new: new.update(required=["gender", "id"]),
        lambda new: new["properties"]["changed"]["items"].update({"x-extensible-enum": ["gender", "id", "name"]}),
    ],
    ids=["nothing", "words", "a field's words", "a new field", "a new field within one", "order", "a new known name"],
)
def test_a_compatible_change_is_accepted(change: Change) -> None:
    assert changed(change) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda new: new["properties"].pop("name"), "$: the field name is gone"),
        (lambda new: new["properties"].pop("id"), "$: the field id is gone"),
        (
            lambda new: (new["properties"].update(email={"type": "string"}), new["required"].append("email")),
            "$: the field email is required now, but events without it exist",
        ),
        (
            lambda new: new["required"].append("name"),
            "$: the field name is required now, but events without it exist",
        ),
        (
            lambda new: new["required"].remove("id"),
            "$: the field id is no longer required, but consumers rely on it",
        ),
        (lambda new: new["properties"]["id"].update(type="string"), "$.properties.id.type was 'integer', is 'string'"),
        (lambda new: new["properties"]["id"].update(type="number"), "$.properties.id.type was 'integer', is 'number'"),
        (lambda new: new["properties"]["id"].update(minimum=0), "$.properties.id.minimum was 1, is 0"),
        (lambda new: new["properties"]["id"].update(minimum=2), "$.properties.id.minimum was 1, is 2"),
        (lambda new: new["properties"]["id"].update(maximum=9), "$.properties.id.maximum was None, is 9"),
        (lambda new: new["properties"]["id"].pop("minimum"), "$.properties.id.minimum was 1, is None"),
        (
            lambda new: new["properties"]["name"]["anyOf"].pop(),
            "$.properties.name.anyOf was [{'type': 'string', 'maxLength': 100}, {'type': 'null'}], "
            "is [{'type': 'string', 'maxLength': 100}]",
        ),
        (
            lambda new: new["properties"].update(gender={"anyOf": [{"enum": ["F", "M"]}, {"type": "null"}]}),
            "$.properties.gender.anyOf was None, is [{'enum': ['F', 'M']}, {'type': 'null'}]",
        ),
        (
            lambda new: new["properties"]["name"]["anyOf"][0].update(maxLength=99),
            "$.properties.name.anyOf[0].maxLength was 100, is 99",
        ),
        (
            lambda new: new["properties"]["gender"]["enum"].append("X"),
            "$.properties.gender.enum was ['F', 'M'], is ['F', 'M', 'X']",
        ),
        (
            lambda new: new["properties"]["gender"]["enum"].remove("M"),
            "$.properties.gender.enum was ['F', 'M'], is ['F']",
        ),
        (
            lambda new: new["properties"]["gender"].update(enum=["F", "W"]),
            "$.properties.gender.enum[1] was 'M', is 'W'",
        ),
        (
            lambda new: new["properties"]["reasons"].update(additionalProperties={"type": "integer"}),
            "$.properties.reasons.additionalProperties.type was 'string', is 'integer'",
        ),
        (
            lambda new: new["properties"]["reasons"].update(propertyNames={"enum": ["phone"]}),
            "$.properties.reasons.propertyNames was None, is {'enum': ['phone']}",
        ),
        (
            lambda new: new["properties"]["phone"]["properties"].pop("code"),
            "$.properties.phone: the field code is gone",
        ),
        (lambda new: new.update(additionalProperties=False), "$.additionalProperties was None, is False"),
        (
            lambda new: new["properties"]["changed"]["items"]["x-extensible-enum"].remove("name"),
            "$.properties.changed.items.x-extensible-enum: the name name is gone",
        ),
        (
            lambda new: new["properties"]["changed"]["items"].update(enum=["id", "name"]),
            "$.properties.changed.items.enum was None, is ['id', 'name']",
        ),
        (
            lambda new: new["properties"]["changed"]["items"].pop("x-extensible-enum"),
            "$.properties.changed.items.x-extensible-enum was ['id', 'name'], is None",
        ),
        (
            lambda new: new["properties"].update(gender={"type": "string", "x-extensible-enum": ["F", "M"]}),
            "$.properties.gender.enum was ['F', 'M'], is None",
        ),
    ],
)
def test_an_incompatible_change_is_named(change: Change, fault: str) -> None:
    assert fault in changed(change)


def test_the_lists_of_names_that_the_first_schemas_closed_are_compared_as_open_ones() -> None:
    names = {"enum": ["city_id", "phone"]}
    first = {
        "type": "object",
        "properties": {
            "changed": {"type": "array", "items": names},
            "reasons": {"type": "object", "propertyNames": names},
            "unusable": {"propertyNames": names, "anyOf": [{"type": "object"}, {"type": "null"}]},
            "origin": {"enum": ["api", "import"]},
        },
    }

    opened = json_schemas.opened(first)

    known = {"x-extensible-enum": ["city_id", "phone"], "pattern": "^[a-z][a-z0-9_]{0,59}$"}
    assert opened["properties"] == {
        "changed": {"type": "array", "items": {"type": "string", **known}},
        "reasons": {"type": "object", "propertyNames": known},
        "unusable": {"anyOf": [{"type": "object", "propertyNames": known}, {"type": "null"}]},
        "origin": {"enum": ["api", "import"]},
    }
    assert json_schemas.opened(opened) == opened


def test_a_number_is_not_a_boolean() -> None:
    assert list(json_schemas.incompatibilities({"minimum": 1}, {"minimum": True})) == ["$.minimum was 1, is True"]
