"""Read the JSON body of a hook. An error names a path in the product's own body, and never a value."""

import json
from typing import Any, Final, NoReturn

from otp_service.core.errors import InvalidRequest
from otp_service.core.json_path import find_json_value
from otp_service.core.value_rule import describe_json_type


NO_CODE_MESSAGE: Final = (
    "is missing: this service writes the message itself, around the code alone. It sends no text of"
    " others, which would let any sender write in your name"
)


def decode_payload(body: bytes) -> dict[str, Any]:
    """Return the body. Raises InvalidRequest unless it is one JSON object without repeated names."""
    try:
        payload = _JSON_DECODER.decode(body.decode())
    except (ValueError, RecursionError):
        _raise_invalid_request("", "the body must be one JSON object in UTF-8")
    if not isinstance(payload, dict):
        _raise_invalid_request("", "the body must be a JSON object")
    return payload


def find_text(payload: dict[str, Any], path: str) -> str | None:
    """Return the text at a path; None if it is missing, null or empty. Raises InvalidRequest."""
    value = find_json_value(path, payload) if path else None
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        _raise_invalid_request(path, f"must be text, not {describe_json_type(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        _raise_invalid_request(path, "must be text in UTF-8")
    return value


def require_text(payload: dict[str, Any], path: str, message: str = "is missing") -> str:
    """Return the text at a path. Raises InvalidRequest with `message` if it is missing."""
    text = find_text(payload, path)
    if text is None:
        _raise_invalid_request(path, message)
    return text


def _reject_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        # Another parser may read the other value: the one that the product signed is unknown.
        _raise_invalid_request("", "an object of the body has a name more than once")
    return members


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _raise_invalid_request(path: str, message: str) -> NoReturn:
    raise InvalidRequest((path, message)) from None


_JSON_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_reject_repeated_names, parse_constant=_reject_constant
)
