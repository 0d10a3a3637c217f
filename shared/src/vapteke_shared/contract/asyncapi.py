"""The AsyncAPI 3 document of the topics that a service sends to and receives from."""

from typing import Any, Final

from vapteke_shared.contract import json_schemas, topics
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.topics import Topic

Part = dict[str, Any]

_BINDING: Final = "0.5.0"
_DEAD: Final = "dead_letter"
_DESCRIPTION: Final = (
    "Events are JSON values with CloudEvents 1.0 headers (binary mode). Delivery is at least once; the order holds "
    "within a key. Within a topic's version, schemas change in compatible ways only: fields may be added, so ignore "
    "fields that you do not know. `vapteke-topics` creates the topics with their partitions and retention."
)


def document(service: str) -> Part:
    """The AsyncAPI document of one service; `service` is a name as in `topics.Topic.producer` and `consumers`.

    With any other name the document has no topics.
    """
    used = [topic for topic in topics.ALL if service in (topic.producer, *topic.consumers)]
    return {
        "asyncapi": "3.0.0",
        "info": {"title": f"{service}: topics", "version": "1", "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in used},
        "operations": {f"{_action(service, topic)}.{topic.name}": _operation(service, topic) for topic in used},
        "components": {
            "messages": {name: message for topic in used for name, message in _messages(topic).items()},
            "schemas": {"cloudEventHeaders": _CLOUD_EVENT, "deadLetterHeaders": _DEAD_LETTER},
        },
    }


def _channel(topic: Topic) -> Part:
    return {
        "address": topic.name,
        "description": f"{topic.content} Sent by {topic.producer}, received by {' and '.join(topic.consumers)}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _messages(topic)},
        "bindings": {
            "kafka": {
                "partitions": topic.partitions,
                "topicConfiguration": {name: _typed(name, value) for name, value in topic.config.items()},
                "bindingVersion": _BINDING,
            }
        },
    }


def _typed(name: str, value: str) -> Any:
    return value.split(",") if name == "cleanup.policy" else int(value)


def _action(service: str, topic: Topic) -> str:
    return "send" if topic.producer == service else "receive"


def _operation(service: str, topic: Topic) -> Part:
    channel = f"#/channels/{topic.name}"
    return {
        "action": _action(service, topic),
        "channel": {"$ref": channel},
        "summary": topic.content,
        "messages": [{"$ref": f"{channel}/messages/{name}"} for name in _messages(topic)],
    }


def _messages(topic: Topic) -> dict[str, Part]:
    binding = {"kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": _BINDING}}
    if not topic.events:
        return {_DEAD: _dead_letter(topic) | {"bindings": binding}}
    return {kind.type: _message(kind) | {"bindings": binding} for kind in topic.events}


def _message(kind: type[Event]) -> Part:
    payload = json_schemas.body(kind)
    return {
        "name": kind.type,
        "title": kind.type,
        "summary": payload.pop("description"),
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/cloudEventHeaders"},
        "payload": payload,
        "examples": [{"payload": example} for example in payload.pop("examples")],
    }


def _dead_letter(topic: Topic) -> Part:
    return {
        "name": _DEAD,
        "title": _DEAD,
        "summary": topic.content,
        "contentType": "application/octet-stream",
        "headers": {"$ref": "#/components/schemas/deadLetterHeaders"},
        "payload": {
            "type": "string",
            "format": "binary",
            "description": "the record's value, or its beginning when it is long",
        },
    }


def _headers(fields: dict[str, tuple[str, str]]) -> Part:
    """The JSON Schema of headers, which are all required strings. `fields` has the description and example of each."""
    properties = {
        name: {"type": "string", "description": text, "examples": [example]} for name, (text, example) in fields.items()
    }
    return {"type": "object", "required": list(fields), "properties": properties}


_CLOUD_EVENT: Final = _headers(
    {
        "ce_specversion": ("the version of CloudEvents", "1.0"),
        "ce_id": ("the event's id", "5f0c2f6de5f54f6f8f4f3d7a4f1c2b9e"),
        "ce_type": ("the event's type", "vapteke.customer.updated"),
        "ce_source": ("the service that sent it", "customers-api"),
        "ce_time": ("when the event happened", "2026-01-02T03:04:05.678901+00:00"),
        "ce_subject": ("what the event is about: the record's key", "14722"),
        "content-type": ("the media type of the value", "application/json"),
    }
)
_DEAD_LETTER: Final = _headers(
    {
        "reason": ("what is wrong with it, and where; never a value", "Expected `int`, got `str` - at `$.legacy_id`"),
        "topic": ("the topic that the record was in", "vapteke.legacy.customers.v1"),
        "partition": ("its partition", "3"),
        "offset": ("its offset", "41250"),
        "content-type": ("the media type of the value", "application/octet-stream"),
    }
)
