"""The body of a request, from templates in the settings.

    messages.0.to = "{to}", ttl = "{valid_seconds}"    {"messages": [{"to": "+44…"}], "ttl": 290}
    To = "{to}", Body = "{text}"                       To=%2B44…&Body=864209+is+your+code

The placeholders are a closed set. Their values are data: they are encoded with the rest of the body
and never searched for further placeholders (R43).
"""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal
from urllib.parse import urlencode

import msgspec

from otp_service.core.delivery import Message
from otp_service.core.secret import Secret
from otp_service.core.url_check import FieldErrors
from otp_service.sms.gateway_values import to_text


FieldValue = str | int | bool
PlaceholderValues = Mapping[str, str | int]
FieldRenderer = Callable[[PlaceholderValues], FieldValue]
BodyFormat = Literal["json", "form"]

PLACEHOLDER_NAMES: Final = (
    *("to", "to_digits", "text", "from", "reference", "callback", "valid_seconds", "valid_minutes"),
    *("code", "minutes", "brand"),  # for a vendor that has the text as an approved template
)

_PLACEHOLDER_PATTERN: Final = re.compile(r"\{([^{}]*)\}")


class BodyTemplate:
    """The configured fields, compiled once and rendered for every message."""

    def __init__(
        self,
        body_format: BodyFormat,
        fields: Mapping[str, FieldValue],
        secrets: Mapping[str, Secret],
    ) -> None:
        """Raise ValueError if the field names contradict one another."""
        leaves = {name: _compile_template(text) for name, text in fields.items()}
        leaves |= {name: _build_constant(secret.reveal()) for name, secret in secrets.items()}
        self._encode = msgspec.json.encode if body_format == "json" else _encode_form
        self._tree = _build_tree(leaves) if body_format == "json" else leaves

    def render(self, message: Message, sender: str) -> bytes:
        """Return the body."""
        to = message.to.e164
        values: PlaceholderValues = {
            "to": to,
            "to_digits": to[1:],
            "text": message.text,
            "from": sender,
            "reference": message.reference,
            "callback": message.callback_url or "",
            "valid_seconds": message.validity_seconds,
            "valid_minutes": max(1, message.validity_seconds // 60),
            "code": message.code,
            "minutes": message.minutes,
            "brand": message.brand,
        }
        return self._encode(_render_node(self._tree, values))


def find_body_errors(
    body_format: BodyFormat, fields: Mapping[str, FieldValue], secrets: Mapping[str, Secret]
) -> FieldErrors:
    """Yield the errors of templates, and the placeholders that every body needs."""
    texts = {name: text for name, text in fields.items() if isinstance(text, str)}
    used = {name for text in texts.values() for name in _PLACEHOLDER_PATTERN.findall(text)}
    for name, text in texts.items():
        is_known = set(_PLACEHOLDER_PATTERN.findall(text)) <= set(PLACEHOLDER_NAMES)
        if not is_known or set(_PLACEHOLDER_PATTERN.sub("", text)) & set("{}"):
            yield f"fields.{name}", f"use these only: {{{'}, {'.join(PLACEHOLDER_NAMES)}}}"
    if not used & {"to", "to_digits"}:
        yield "fields", "put {to} or {to_digits} where the number goes"
    if not used & {"text", "code"}:
        yield "fields", "put {text} where the message goes, or {code} for an approved template"
    if fields.keys() & secrets.keys():
        yield "secret_fields", "name each field once"
    try:
        BodyTemplate(body_format, fields, secrets)
    except ValueError as error:
        yield "fields", str(error)


def uses_placeholder(fields: Mapping[str, FieldValue], name: str) -> bool:
    """Whether a template of these fields has this placeholder."""
    return any(isinstance(text, str) and f"{{{name}}}" in text for text in fields.values())


def _build_constant(value: FieldValue) -> FieldRenderer:
    return lambda _: value


def _compile_template(text: FieldValue) -> FieldRenderer:
    if not isinstance(text, str) or not (names := _PLACEHOLDER_PATTERN.findall(text)):
        return _build_constant(text)
    if _PLACEHOLDER_PATTERN.fullmatch(text):
        return operator.itemgetter(names[0])
    return lambda values: _PLACEHOLDER_PATTERN.sub(lambda match: str(values[match[1]]), text)


def _build_tree(leaves: Mapping[str, FieldRenderer]) -> Any:
    """Return {"a.0.b": leaf} as {"a": [{"b": leaf}]}. Raises ValueError for contradicting names."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        if not all(name.split(".")) or any(other.startswith(f"{name}.") for other in leaves):
            raise ValueError(f"{name}: a part of this name is empty, or has fields below it")
        *parents, last = name.split(".")
        node = tree
        for step in parents:
            node = node.setdefault(step, {})
        node[last] = leaf
    return _convert_lists(tree)


def _convert_lists(node: Any) -> Any:
    """Return the node with every dict of indexes 0, 1, 2… as a list."""
    if not isinstance(node, dict):
        return node
    parts = {name: _convert_lists(part) for name, part in node.items()}
    indexes = [name for name in parts if name.isdecimal()]
    if not indexes:
        return parts
    if sorted(parts) != sorted(map(str, range(len(parts)))):
        raise ValueError(f"{', '.join(indexes)}: number a list from 0, without gaps")
    return [parts[str(index)] for index in range(len(parts))]


def _render_node(node: Any, values: PlaceholderValues) -> Any:
    if isinstance(node, dict):
        pairs = ((name, _render_node(part, values)) for name, part in node.items())
        return {name: part for name, part in pairs if part != ""}
    if isinstance(node, list):
        return [_render_node(part, values) for part in node]
    return node(values)


def _encode_form(fields: Mapping[str, FieldValue]) -> bytes:
    return urlencode({name: to_text(value) for name, value in fields.items()}).encode()
