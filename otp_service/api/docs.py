"""/docs: the API's description as one page, which needs no script and nothing from elsewhere."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from html import escape
from typing import Any, Final

from otp_service.api.openapi import document


STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 3rem; border-top: 1px solid; padding-top: 1rem }
code, pre { font: 14px/1.5 ui-monospace, monospace }
pre { background: #8882; padding: 1rem; overflow: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem 1rem .25rem 0 }
caption { text-align: left; font-weight: bold; padding-top: 1rem }
tr + tr td { border-top: 1px solid #8884 }
@media (prefers-color-scheme: dark) { body { background: #111; color: #eee } a { color: #8bf } }
"""
_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@cache
def page() -> str:
    """Return the page."""
    described = document()
    info = described["info"]
    calls = [
        (method, path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    return "\n".join(
        (
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{escape(info['title'])}</title><style>{STYLE}</style>",
            f"<h1>{escape(info['title'])}</h1>",
            *(f"<p>{_prose(part)}" for part in info["description"].split("\n\n")),
            '<p>The same for programs: <a href="openapi.yaml">openapi.yaml</a>.',
            *_contents(calls),
            *(line for call in calls for line in _call(*call)),
            *_problems(described["components"]["examples"]),
            *_schemas(described["components"]["schemas"]),
        )
    )


def _contents(calls: Iterable[tuple[str, str, dict[str, Any]]]) -> Iterator[str]:
    yield "<ul>"
    for method, path, operation in calls:
        name, call = operation["operationId"], f"{method.upper()} {path}"
        summary = escape(operation["summary"])
        yield f'<li><a href="#{name}"><code>{escape(call)}</code></a> {summary}'
    yield '<li><a href="#problems">Problems</a></ul>'


def _call(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f'<h2 id="{operation["operationId"]}">{escape(operation["summary"])}</h2>'
    yield f"<pre>{method.upper()} {escape(path)}</pre>"
    scopes = [scope for one in operation["security"] for scope in one["key"]]
    if scopes:
        yield f"<p>For keys with the scope {' or '.join(map(_code, scopes))}."
    rows = [
        (_code(one["name"]), one["in"], _type(one["schema"]), _prose(one.get("description", "")))
        for one in operation["parameters"]
    ]
    yield from _table("Parameters", rows)
    if "requestBody" in operation:
        yield f"<p>Body: {_type(operation['requestBody']['content']['application/json']['schema'])}"
    yield from _table("Answers", _answers(operation["responses"]))


def _answers(responses: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    shared = document()["components"]["responses"]
    for status, response in responses.items():
        if "$ref" in response:
            slugs = response["$ref"].rpartition("/")[2].split(".")
            headers = shared[".".join(slugs)]["headers"]
            said = ", ".join(f'<a href="#problem-{slug}">{slug}</a>' for slug in slugs)
        else:
            headers = response.get("headers", {})
            content = response.get("content")
            said = _type(content["application/json"]["schema"]) if content else ""
        yield _code(status), said, ", ".join(map(_code, headers))


def _problems(examples: dict[str, Any]) -> Iterator[str]:
    yield '<h2 id="problems">Problems</h2>'
    for slug, example in examples.items():
        yield f'<h3 id="problem-{slug}">{slug}</h3>'
        yield f"<pre>{escape(json.dumps(example['value'], indent=2), quote=False)}</pre>"


def _schemas(schemas: dict[str, Any]) -> Iterator[str]:
    for name, schema in schemas.items():
        yield f'<h2 id="{name}">{name}</h2><p>{_prose(schema.get("description", ""))}'
        if "enum" in schema:
            yield f"<p>{_type(schema)}"
        needed = schema.get("required", ())
        rows = [
            (_code(field), "required" if field in needed else "", _type(about), _said(about))
            for field, about in schema.get("properties", {}).items()
        ]
        yield from _table("Fields", rows)


def _said(schema: dict[str, Any]) -> str:
    plain = schema.get("anyOf", [schema])[0]
    examples = [f"Like `{example}`." for example in plain.get("examples", ())]
    return _prose(" ".join((plain.get("description", ""), *examples)))


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(map(_code, schema["enum"]))
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    bounds = [f"{name} {schema[name]}" for name in _BOUNDS if name in schema]
    return escape(", ".join((schema.get("type", "any"), *bounds)))


_BOUNDS: Final = ("format", "pattern", "minLength", "maxLength", "minimum", "maximum", "default")


def _table(caption: str, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    lines = [f"<tr>{''.join(f'<td>{cell}' for cell in row)}" for row in rows]
    if lines:
        yield from (f"<table><caption>{caption}</caption>", *lines, "</table>")


def _prose(text: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
