"""The document of the topics, by AsyncAPI's own schema, and its page."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from vapteke_shared.contract import asyncapi, asyncapi_page, topics

# AsyncAPI's own, from the npm package @asyncapi/specs 6.11.1, as it is there
OFFICIAL = json.loads((Path(__file__).parents[2] / "support" / "asyncapi" / "3.0.0.json").read_text())
SERVICES = (topics.CUSTOMERS_API, topics.IMPORTER, topics.FAVORITES_API)


@pytest.mark.parametrize("service", SERVICES)
def test_the_document_is_valid(service: str) -> None:
    jsonschema.Draft7Validator(OFFICIAL).validate(asyncapi.document(service))


def test_the_validator_refuses_an_unknown_action() -> None:
    document = asyncapi.document(topics.CUSTOMERS_API)
    document["operations"]["send.vapteke.customers.v1"]["action"] = "try"

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(OFFICIAL).validate(document)


@pytest.mark.parametrize("service", SERVICES)
def test_every_reference_leads_somewhere(service: str) -> None:
    document = asyncapi.document(service)

    assert all(target(document, reference) for reference in references(document))


def references(part: Any) -> list[str]:
    if isinstance(part, dict):
        found = [part["$ref"]] if "$ref" in part else []
        return found + [each for value in part.values() for each in references(value)]
    return [each for value in part for each in references(value)] if isinstance(part, list) else []


def target(document: Any, reference: str) -> Any:
    for name in reference.removeprefix("#/").split("/"):
        document = document[name]
    return document


def test_customers_api_has_a_part_in_every_topic() -> None:
    document = asyncapi.document(topics.CUSTOMERS_API)

    actions = {name.split(".", 1)[1]: each["action"] for name, each in document["operations"].items()}
    assert actions == {
        "vapteke.import.tasks.v1": "send",
        "vapteke.import.progress.v1": "receive",
        "vapteke.import.progress.dead.v1": "send",
        "vapteke.import.state.v1": "send",
        "vapteke.legacy.customers.v1": "receive",
        "vapteke.legacy.customers.dead.v1": "send",
        "vapteke.customers.v1": "send",
    }


def test_a_channel_describes_its_topic() -> None:
    channel = asyncapi.document(topics.FAVORITES_API)["channels"]["vapteke.customers.v1"]

    assert list(channel["messages"]) == [kind.type for kind in topics.CUSTOMERS.events]
    assert "Sent by customers-api, received by favorites-api and anybody." in channel["description"]
    assert channel["bindings"]["kafka"] == {
        "partitions": 8,
        "topicConfiguration": {
            "cleanup.policy": ["compact"],
            "max.compaction.lag.ms": 24 * 3600 * 1000,
            "delete.retention.ms": 14 * 24 * 3600 * 1000,
        },
        "bindingVersion": "0.5.0",
    }


class Page(HTMLParser):
    """What a page loads, where it leads to, what it says; unknown markup is as good as known."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_shows_every_topic_message_and_field() -> None:
    document = asyncapi.document(topics.CUSTOMERS_API)

    text = set(Page(asyncapi_page.render(document)).text)

    assert set(document["channels"]) <= text
    for name, message in document["components"]["messages"].items():
        assert {name, *message["payload"].get("properties", {})} <= text
    assert {"7 days", "14 days", "compacted within 1 day", "customer id"} <= text


def test_the_page_has_no_script_and_no_form() -> None:
    page = Page(asyncapi_page.render(asyncapi.document(topics.CUSTOMERS_API)))

    assert not {"script", "form", "button", "input", "iframe"} & set(page.tags)
    assert {link for link in page.loaded if not link.startswith("#")} == {"data:,", "page.css", "../asyncapi.json"}


def test_a_description_is_text_without_markup() -> None:
    document = asyncapi.document(topics.FAVORITES_API)
    document["info"]["description"] = "<script>alert(1)</script> `a<b`"

    html = asyncapi_page.render(document)

    assert "&lt;script&gt;alert(1)&lt;/script&gt; <code>a&lt;b</code>" in html
