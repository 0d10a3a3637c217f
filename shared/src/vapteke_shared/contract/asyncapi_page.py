"""Renders an AsyncAPI document from `asyncapi.document` as one plain HTML page, without scripts."""

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

Part = Mapping[str, Any]

_DAY_MS = 24 * 3600 * 1000


def render(document: Part) -> str:
    title, channels = escape(document["info"]["title"]), document["channels"].values()
    actions = {_last(each["channel"]): each["action"] for each in document["operations"].values()}
    summary = [
        (_link(c["address"]), actions[c["address"]] + "s", _key(document, c), _partitions(c), _kept(c))
        for c in channels
    ]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="page.css">
</head>
<body>
<h1>{title}</h1>
<p>{_text(document["info"]["description"])}</p>
<p><a href="../asyncapi.json">The same as AsyncAPI {document["asyncapi"]}</a></p>
{_table(("topic", "this service", "key", "partitions", "kept"), summary)}
{"".join(_channel(document, channel) for channel in channels)}
</body>
</html>
"""


def _channel(document: Part, channel: Part) -> str:
    address, messages = escape(channel["address"]), [_message(document, _last(ref)) for ref in _refs(channel)]
    return f'<h2 id="{address}">{address}</h2><p>{_text(channel["description"])}</p>{"".join(messages)}'


def _message(document: Part, name: str) -> str:
    message = document["components"]["messages"][name]
    headers = document["components"]["schemas"][_last(message["headers"])]
    examples = [json.dumps(each["payload"], ensure_ascii=False, indent=2) for each in message.get("examples", ())]
    return (
        f"<h3>{escape(name)}</h3><p>{_text(message['summary'])}</p>{_fields(message['payload'])}"
        + "".join(f"<details><summary>example</summary><pre>{escape(each)}</pre></details>" for each in examples)
        + f"<details><summary>headers</summary>{_fields(headers)}</details>"
    )


def _fields(schema: Part) -> str:
    if "properties" not in schema:
        return f"<p>{escape(_type(schema))}: {_text(schema['description'])}</p>"
    rows = [
        (
            f"<code>{escape(name)}</code>",
            escape(_type(field)) + ("" if name in schema["required"] else ", optional"),
            _text(field["description"]),
            f"<code>{escape(json.dumps(field['examples'][0], ensure_ascii=False))}</code>",
        )
        for name, field in schema["properties"].items()
    ]
    return _table(("field", "type", "meaning", "example"), rows)


def _type(schema: Part) -> str:
    """The type of a JSON Schema in words, such as `string (format date-time) or null`."""
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if schema["type"] == "object":
        return f"object of {_type(schema['additionalProperties'])}"
    limits = [
        f"{word} {schema[word]}"
        for word in ("format", "pattern", "minimum", "maximum", "minLength", "maxLength")
        if word in schema
    ]
    return str(schema["type"]) + (f" ({', '.join(limits)})" if limits else "")


def _key(document: Part, channel: Part) -> str:
    message = document["components"]["messages"][_last(_refs(channel)[0])]
    return escape(message["bindings"]["kafka"]["key"]["description"])


def _partitions(channel: Part) -> str:
    return str(channel["bindings"]["kafka"]["partitions"])


def _kept(channel: Part) -> str:
    config = channel["bindings"]["kafka"]["topicConfiguration"]
    if "compact" in config["cleanup.policy"]:
        return f"compacted within {config['max.compaction.lag.ms'] // _DAY_MS} day"
    return f"{config['retention.ms'] // _DAY_MS} days"


def _refs(channel: Part) -> list[Part]:
    return list(channel["messages"].values())


def _last(reference: Part) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _link(address: str) -> str:
    return f'<a href="#{escape(address)}">{escape(address)}</a>'


def _text(words: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(words))


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """An HTML table. `heads` are plain text and are escaped here; the cells in `rows` must be HTML already."""
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
