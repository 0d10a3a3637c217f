"""The OpenAPI documents describe every field and every problem, with valid examples."""

import re
from collections.abc import Iterator
from typing import Any

import contracts
import jsonschema
import pytest
from openapi_spec_validator import validate
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError

Part = dict[str, Any]

DOCUMENTS: dict[str, Part] = {name: app.openapi() for name, app in contracts.apps().items()}
SCHEMAS = "#/components/schemas/"
FORMATS = jsonschema.Draft202012Validator.FORMAT_CHECKER
KEYWORDS = {
    *("title", "description", "examples", "default", "type", "format", "enum", "const", "$ref"),
    *("anyOf", "oneOf", "items", "minItems", "maxItems", "uniqueItems", "additionalProperties"),
    *("minimum", "maximum", "minLength", "maxLength", "pattern"),
}


def operations() -> Iterator[tuple[Part, Part]]:
    for document in DOCUMENTS.values():
        for path in document["paths"].values():
            yield from ((document, operation) for operation in path.values())


def fields() -> Iterator[tuple[Part, str, Part]]:
    """Every field of every schema, and every parameter's schema."""
    for document in DOCUMENTS.values():
        for name, schema in document["components"]["schemas"].items():
            yield from ((document, f"{name}.{field}", part) for field, part in schema.get("properties", {}).items())
    for document, operation in operations():
        for each in operation.get("parameters", ()):
            yield document, f"{operation['operationId']}.{each['name']}", {**each["schema"], **each}


def named(case: Any) -> str:
    return case if isinstance(case, str) else case.get("operationId") or case.get("info", {}).get("title", "")


every_operation = pytest.mark.parametrize(("document", "operation"), list(operations()), ids=named)
every_field = pytest.mark.parametrize(("document", "name", "field"), list(fields()), ids=named)


def examples(document: Part, schema: Part) -> list[Any]:
    """A schema's own examples, or what it can only be, or what the schemas show that it consists of."""
    if "examples" in schema:
        return list(schema["examples"])
    if "example" in schema:
        return [schema["example"]]
    if "const" in schema:
        return [schema["const"]]
    if "enum" in schema:
        return list(schema["enum"])
    if "$ref" in schema:
        return examples(document, document["components"]["schemas"][schema["$ref"].removeprefix(SCHEMAS)])
    if schema.get("type") == "array":
        return [[each] for each in examples(document, schema["items"])]
    if "properties" in schema:
        shown = {name: examples(document, part) for name, part in schema["properties"].items()}
        return [{name: each[0] for name, each in shown.items()}] if all(shown.values()) else []
    return [each for part in schema.get("anyOf", ()) for each in examples(document, part)]


@pytest.mark.parametrize("service", DOCUMENTS)
def test_a_document_is_valid(service: str) -> None:
    validate(DOCUMENTS[service])


def test_the_validator_refuses_a_parameter_without_a_place() -> None:
    broken = {"in": "nowhere", "name": "x", "schema": {"type": "string"}}
    paths = {"/": {"get": {"parameters": [broken], "responses": {"200": {"description": "all"}}}}}

    with pytest.raises(OpenAPIValidationError):
        validate({"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "paths": paths})


@pytest.mark.parametrize("service", DOCUMENTS)
def test_a_document_says_what_the_service_is(service: str) -> None:
    info = DOCUMENTS[service]["info"]

    assert info["title"] == service
    assert info["summary"]
    assert "RFC 9457" in info["description"]


@every_operation
def test_an_operation_is_described(document: Part, operation: Part) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert set(operation["tags"]) <= {tag["name"] for tag in document["tags"] if tag["description"]}
    assert re.fullmatch("[a-z]+(_[a-z]+)*", operation["operationId"])
    assert operation["security"]


def test_no_two_operations_have_one_id() -> None:
    for document in DOCUMENTS.values():
        ids = [operation["operationId"] for each, operation in operations() if each is document]

        assert len(ids) == len(set(ids))


@every_operation
def test_an_operation_lists_its_problems(document: Part, operation: Part) -> None:
    expected = {"401", "403", "500", "503"}
    expected |= {"422"} if {"parameters", "requestBody"} & operation.keys() else set()
    expected |= {"413", "415"} if "requestBody" in operation else set()
    expected |= {"404"} if any(each["in"] == "path" for each in operation.get("parameters", ())) else set()

    problems = {status: each for status, each in operation["responses"].items() if status >= "400"}

    assert expected <= set(problems)
    for each in problems.values():
        assert re.search(r": `[a-z_]+`(, `[a-z_]+`)*$", each["description"])
        assert list(each["content"]) == ["application/problem+json"]
        assert f"{SCHEMAS}Problem" in str(each["content"])


@every_operation
def test_an_answer_is_described(document: Part, operation: Part) -> None:
    answers = {status: each for status, each in operation["responses"].items() if status < "400"}

    assert answers
    for status, each in answers.items():
        assert each["description"] != "Successful Response"
        assert status == "304" or examples(document, each["content"]["application/json"]["schema"])
        assert all(header["description"] for header in each.get("headers", {}).values())


@every_field
def test_a_field_is_described_and_has_true_examples(document: Part, name: str, field: Part) -> None:
    shown = examples(document, field)

    assert field.get("description"), name
    assert shown or name.endswith(".cursor"), "a cursor is signed: no example of one could be true"
    for example in shown:
        schema = {**field.get("schema", field), "components": document["components"]}
        jsonschema.Draft202012Validator(schema, format_checker=FORMATS).validate(example)


@every_field
def test_a_field_uses_words_of_json_schema_alone(document: Part, name: str, field: Part) -> None:
    assert keywords(field.get("schema", field)) <= KEYWORDS, name


def keywords(schema: Part) -> set[str]:
    parts = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), schema.get("items", {})]
    return set(schema).union(*map(keywords, parts)) if schema else set()


@pytest.mark.parametrize("service", DOCUMENTS)
def test_frameworks_own_errors_are_not_shown(service: str) -> None:
    assert "HTTPValidationError" not in str(DOCUMENTS[service])
