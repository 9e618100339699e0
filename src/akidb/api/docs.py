"""The page `/docs`: the OpenAPI description as plain HTML, without scripts or external resources."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import msgspec

_STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; line-height: 1.5; }
summary { cursor: pointer; padding: .3rem 0; }
details details, details > *:not(summary) { margin-left: 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow: auto; padding: .6rem; border: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
table { border-collapse: collapse; } td { padding: .15rem .8rem .15rem 0; vertical-align: top; }
b { display: inline-block; min-width: 4.5rem; }
"""


def render(description: Mapping[str, Any]) -> bytes:
    """Render an OpenAPI document as HTML."""
    return "\n".join(_page(description)).encode()


def _page(description: Mapping[str, Any]) -> Iterator[str]:
    info = description["info"]
    yield "<!doctype html><html lang=en><meta charset=utf-8>"
    yield f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>"
    yield f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"
    yield from (f"<p>{escape(paragraph)}" for paragraph in info["description"].split("\n\n"))
    yield "<p><a href=openapi.json>openapi.json</a>"
    for tag in description["tags"]:
        yield f"<h2>{escape(tag['name'])}</h2>"
        for path, methods in description["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    yield from _operation(method, path, operation, description["components"])
    yield "<h2>schemas</h2>"
    for name, schema in description["components"]["schemas"].items():
        yield f"<details id='{escape(name)}'><summary><code>{escape(name)}</code></summary>"
        yield f"{_json(schema)}</details>"


def _operation(
    method: str, path: str, operation: Mapping[str, Any], shared: Mapping[str, Any]
) -> Iterator[str]:
    yield f"<details id='{escape(operation['operationId'])}'><summary>"
    yield f"<b>{method.upper()}</b><code>{escape(path)}</code> {escape(operation['summary'])}</summary>"
    yield f"<p>{escape(operation.get('description', ''))}<table>"
    for parameter in operation["parameters"]:
        if "$ref" in parameter:
            parameter = shared["parameters"][parameter["$ref"].rpartition("/")[2]]  # noqa: PLW2901
        schema = escape(msgspec.json.encode(parameter["schema"]).decode())
        yield f"<tr><td><code>{escape(parameter['name'])}</code><td>{parameter['in']}"
        yield f"<td><code>{schema}</code><td>{escape(parameter.get('description', ''))}"
    yield "</table>"
    if body := operation.get("requestBody"):
        yield f"<p>Body: {_content(body)}"
        yield from _examples(body)
    yield "<table>"
    for status, answer in operation["responses"].items():
        yield f"<tr><td>{status}<td>{escape(answer['description'])}<td>{_content(answer)}"
    yield "</table>"
    for answer in operation["responses"].values():
        yield from _examples(answer)
    yield "</details>"


def _content(message: Mapping[str, Any]) -> str:
    parts = []
    for media_type, content in message.get("content", {}).items():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        link = f" <a href='#{escape(name)}'><code>{escape(name)}</code></a>" if name else ""
        parts.append(f"{escape(media_type)}{link}")
    return ", ".join(parts)


def _examples(message: Mapping[str, Any]) -> Iterator[str]:
    for content in message.get("content", {}).values():
        if "example" in content:
            yield _json(content["example"])


def _json(schema: Any) -> str:
    text = msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()
    return f"<pre>{escape(text)}</pre>"
