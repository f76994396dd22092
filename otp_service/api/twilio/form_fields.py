"""Forms of Twilio's clients: fields that change nothing here are ignored, as clients add some.

A field whose promise cannot be kept is refused, and never dropped in silence.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from litestar.exceptions import HTTPException

from otp_service.api.field_errors import REPEATED_NAME_MESSAGE, ParsedFields
from otp_service.api.request_body import (
    FORM_TYPE,
    JSON_DECODER,
    convert_fields,
    decode_urlencoded,
    read_body,
)
from otp_service.api.request_context import AuthenticatedRequest, get_header_values
from otp_service.core.errors import InvalidRequest
from otp_service.core.verify_service import RateLimitField, VerifyService
from otp_service.schemas import IssueRequest


SMS_CHANNELS: Final = frozenset({"sms", "auto"})
"""`auto` lets Twilio choose."""

REFUSED_START_FIELDS: Final[Mapping[str, str]] = {
    "Amount": "is for PSD2: here a check does not compare it, so it is not accepted",
    "Payee": "is for PSD2: here a check does not compare it, so it is not accepted",
    "CustomCode": "is not accepted: codes are drawn here",
    "CustomFriendlyName": "is not accepted: the brand is a setting of the tenant",
    "CustomMessage": "is not accepted: the text of messages is fixed",
    "TemplateSid": "is not accepted: the text of messages is fixed",
    "TemplateCustomSubstitutions": "is not accepted: the text of messages is fixed",
}
REFUSED_CHECK_FIELDS: Final = {name: REFUSED_START_FIELDS[name] for name in ("Amount", "Payee")}

_SINGLE_FIELDS: Final = frozenset(
    {
        *REFUSED_START_FIELDS,
        *("To", "Channel", "Locale", "DeviceIp", "RateLimits", "RiskCheck"),
        *("Code", "VerificationSid", "Status"),
    }
)
"""The fields that are read here. One that is sent twice is refused, and another one is ignored."""


async def parse_form(request: AuthenticatedRequest) -> dict[str, str]:
    """Return the fields that have a value. Raises 413, 415 and InvalidRequest."""
    body = await read_body(request)
    types = get_header_values(request, b"content-type")
    kinds = [value.partition(b";")[0].strip().lower() for value in types]
    if body and kinds != [FORM_TYPE]:
        raise HTTPException(status_code=415)
    fields = decode_urlencoded(body)
    repeated = (name for name in fields.repeated_names if name in _SINGLE_FIELDS)
    if errors := [(name, REPEATED_NAME_MESSAGE) for name in repeated]:
        raise InvalidRequest(*errors)
    return {name: value for name, value in fields.items() if value}


def require_field(fields: Mapping[str, str], name: str, missing_message: str = "is missing") -> str:
    """Return a field. Raises InvalidRequest."""
    if name not in fields:
        raise InvalidRequest((name, missing_message))
    return fields[name]


def refuse_fields(fields: Mapping[str, str], refused: Mapping[str, str]) -> None:
    """Raise InvalidRequest for each field that is given and refused."""
    if errors := [(name, refused[name]) for name in fields if name in refused]:
        raise InvalidRequest(*errors)


def build_issue_request(fields: Mapping[str, str], service: VerifyService) -> IssueRequest:
    """Return the request of a start. Raises InvalidRequest."""
    number = require_field(fields, "To")
    if require_field(fields, "Channel") not in SMS_CHANNELS:
        raise InvalidRequest(("Channel", "must be sms: codes are sent by SMS alone"))
    refuse_fields(fields, REFUSED_START_FIELDS)
    if fields.get("RiskCheck", "enable") != "enable":
        raise InvalidRequest(("RiskCheck", "must be enable: no caller is exempt from the limits"))
    limited = _parse_rate_limits(fields.get("RateLimits"), service)
    given = {
        "phone_number": number,
        "purpose": service.purpose,
        "locale": fields.get("Locale"),
        "client_ip": fields.get("DeviceIp"),
    }
    if given["client_ip"] not in {None, limited.get("client_ip", given["client_ip"])}:
        raise InvalidRequest(("RateLimits", "has another address than DeviceIp: send one of them"))
    return convert_fields(given | limited, IssueRequest)


def _parse_rate_limits(text: str | None, service: VerifyService) -> dict[RateLimitField, str]:
    """Return the subjects of our limits, of names that the Verify Service has in its settings."""
    values, known = _decode_rate_limits(text or "{}"), service.rate_limits
    if values.keys() - known.keys():
        names = _join_names(known)
        raise InvalidRequest(("RateLimits", f"has a name that is not in the settings: {names}"))
    subjects: dict[RateLimitField, str] = {}
    for name, value in values.items():
        if subjects.setdefault(known[name], value) != value:
            raise InvalidRequest(("RateLimits", f"has two values for {known[name]}"))
    return subjects


def _decode_rate_limits(text: str) -> ParsedFields:
    try:
        values = JSON_DECODER.decode(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, ParsedFields) or any(type(one) is not str for one in values.values()):
        raise InvalidRequest(("RateLimits", "must be a JSON object of texts"))
    if values.repeated_names:
        raise InvalidRequest(("RateLimits", "has a name more than once"))
    return values


def _join_names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "rate_limits of this Verify Service is empty"
