"""Any gateway that takes one HTTP POST for a message, described in the settings.

What came back, in the order in which it is looked at, and whose fault it is:

    a code in recipient_codes                                            recipient: stop
    a code in provider_codes or throttled_codes                          provider: the next one
    a status in statuses                                                 what stands there
    a status in accepted.statuses (any 2xx if there are none), at
    accepted.path one of accepted.values, and a message_id in its place  accepted
    the same, but no message_id                                          unknown
    another 2xx with a code: the gateway named an error                  provider
    429 or 503 with Retry-After; any other 4xx                           provider
    any other 5xx or 2xx                                                 unknown

A place in a reply is a dotted path into its JSON ("messages.0.status") or "header:X-Message-Id".

    type = "http"
    url = "https://sms.example/v1/messages"
    fields = { "messages.0.to" = "{to}", "messages.0.text" = "{text}", ttl = "{valid_seconds}" }
    secret_headers = { Authorization = "Bearer …" }
    message_id = "messages.0.id"
    code = "error.code"
    recipient_codes = ["invalid-number"]
"""

import base64
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import msgspec

from otp_service.core.delivery import (
    Accepted,
    Fault,
    Message,
    Receipt,
    RefusalScope,
    Refused,
    Reply,
)
from otp_service.core.secret import Secret
from otp_service.core.url_check import FieldErrors
from otp_service.sms.body_template import (
    BodyFormat,
    BodyTemplate,
    FieldValue,
    find_body_errors,
    to_text,
)
from otp_service.sms.http_provider import Headers, HttpProvider, HttpReply, HttpRequest
from otp_service.sms.provider_settings import HttpSettings
from otp_service.sms.receipt_callbacks import Callback
from otp_service.sms.router import ProviderDependencies
from otp_service.sms.validation import find_header_errors, find_provider_url_errors
from otp_service.sms.vendor_dialect import build_refusal, classify_by_status


VendorCodes = frozenset[str | int]

CONTENT_TYPES = {"json": "application/json", "form": "application/x-www-form-urlencoded"}

_HEADER_PREFIX = "header:"


class BasicAuth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user and a password for the Authorization header."""

    username: str
    password: Secret

    @property
    def header(self) -> str:
        """The header's value."""
        both = f"{self.username}:{self.password.reveal()}"
        return f"Basic {base64.b64encode(both.encode()).decode()}"


class Acceptance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an accepted message is known by, beside its id."""

    statuses: frozenset[int] = frozenset()
    """Every 2xx, if there are none."""
    path: str = ""
    values: VendorCodes = frozenset()


class ReceiptSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the gateway tells later what became of a message, to the address in `{callback}`."""

    status: str
    """Where its word for that stands: a dotted path into its JSON, or a field of form or query."""
    delivered: VendorCodes = frozenset()
    undeliverable: VendorCodes = frozenset()
    """The number's fault: nobody could have delivered it."""
    failed: VendorCodes = frozenset()
    """For good, and another gateway may do better."""


class GenericHttp(HttpSettings, frozen=True, kw_only=True, tag="http"):
    """The settings of such a gateway, and its dialect."""

    url: str
    body: BodyFormat = "json"
    fields: dict[str, FieldValue]
    """Name to template. In JSON a dotted name nests, and a number in it is a place in a list;
    a template that is only `{valid_seconds}` gives a number. A field that comes out empty is left
    out, so `{from}` needs no sender."""
    secret_fields: dict[str, Secret] = msgspec.field(default_factory=dict)
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    secret_headers: dict[str, Secret] = msgspec.field(default_factory=dict)
    basic: BasicAuth | None = None
    sender: str = ""
    """What `{from}` is for a tenant that has no sender of its own."""

    accepted: Acceptance = Acceptance()
    message_id: str = ""
    """Where the gateway's own name for the message stands, if it gives one."""
    code: str = ""
    """Where its code for an error stands."""
    recipient_codes: VendorCodes = frozenset()
    provider_codes: VendorCodes = frozenset()
    throttled_codes: VendorCodes = frozenset()
    receipt: ReceiptSettings | None = None
    statuses: dict[int, Fault] = msgspec.field(default_factory=dict)

    def build_provider(self, name: str, dependencies: ProviderDependencies) -> HttpProvider:
        """Return the provider that speaks this dialect."""
        return HttpProvider(name, self, dependencies.transport)

    def build_request(self, message: Message) -> HttpRequest:
        """Return the POST; what comes from the message stands in its body only (R43)."""
        body = self._body_template.render(message, self.sender)
        return HttpRequest("POST", self.url, self._request_headers, body)

    def interpret_reply(self, reply: HttpReply) -> Reply:
        """Return what the reply means, by the table on top."""
        body = _decode_json_or_none(reply.body)
        code = _find_value(self.code, reply, body)
        fault = self._faults_by_code.get(code or "") or self.statuses.get(reply.status)
        if fault:
            is_throttled = code in self._throttled_codes
            return build_refusal(
                fault, reply, code, RefusalScope.THROTTLED if is_throttled else None
            )
        if self._is_accepted(reply, body):
            return self._reply_from_message_id(reply, body)
        if code and reply.is_2xx:
            return build_refusal(Fault.PROVIDER, reply, code)
        return classify_by_status(reply, code)

    def parse_receipts(self, callback: Callback) -> Sequence[Receipt]:
        """Return the news; every word that is in no table means that it is not over yet."""
        if self.receipt is None:
            raise ValueError("this gateway is configured to bring no receipts")
        said = _read_callback_value(self.receipt.status, callback)
        if said in map(str, self.receipt.delivered):
            return [Receipt("delivered")]
        if said in map(str, self.receipt.undeliverable):
            return [Receipt("permanent-failure", reason=said)]
        if said in map(str, self.receipt.failed):
            return [Receipt("technical-failure", reason=said)]
        return [Receipt("pending")]

    def find_errors(self) -> list[tuple[str, str]]:
        """Return what is wrong or unsafe in these settings, as (field, remedy)."""
        secret_headers = {name: value.reveal() for name, value in self.secret_headers.items()}
        return [
            *find_provider_url_errors(self.url),
            *find_header_errors("headers", self.headers, secret=False),
            *find_header_errors("secret_headers", secret_headers, secret=True),
            *self._find_credential_errors(),
            *find_body_errors(self.body, self.fields, self.secret_fields),
            *self._find_table_errors(),
        ]

    @cached_property
    def _request_headers(self) -> Headers:
        headers = {"content-type": CONTENT_TYPES[self.body]}
        headers |= {name.lower(): value for name, value in self.headers.items()}
        headers |= {name.lower(): value.reveal() for name, value in self.secret_headers.items()}
        if self.basic:
            headers["authorization"] = self.basic.header
        return tuple(headers.items())

    @cached_property
    def _body_template(self) -> BodyTemplate:
        return BodyTemplate(self.body, self.fields, self.secret_fields)

    @cached_property
    def _faults_by_code(self) -> dict[str, Fault]:
        table = {str(code): Fault.PROVIDER for code in self.provider_codes | self.throttled_codes}
        return table | {str(code): Fault.RECIPIENT for code in self.recipient_codes}

    @cached_property
    def _throttled_codes(self) -> frozenset[str]:
        return frozenset(map(str, self.throttled_codes))

    @cached_property
    def _accepted_values(self) -> frozenset[str]:
        return frozenset(map(str, self.accepted.values))

    def _is_accepted(self, reply: HttpReply, body: Any) -> bool:
        if reply.status not in (self.accepted.statuses or range(200, 300)):
            return False
        path = self.accepted.path
        return not path or _find_value(path, reply, body) in self._accepted_values

    def _reply_from_message_id(self, reply: HttpReply, body: Any) -> Reply:
        if not self.message_id:
            return Accepted()
        known = _find_value(self.message_id, reply, body)
        return Accepted(known) if known else Refused(Fault.UNKNOWN, "no-message-id")

    def _find_credential_errors(self) -> FieldErrors:
        names = {name.lower() for name in self.headers}
        for name in self.secret_headers:
            if name.lower() in names or (self.basic and name.lower() == "authorization"):
                yield f"secret_headers.{name}", "say this header once"
        if self.basic and ":" in self.basic.username:
            yield "basic.username", "use a name without ':'"

    def _find_table_errors(self) -> FieldErrors:
        tables = (self.recipient_codes, self.provider_codes, self.throttled_codes)
        codes = [str(code) for table in tables for code in table]
        if codes and not self.code:
            yield "code", "say where in a reply the gateway's code for an error stands"
        if len(set(codes)) < len(codes):
            yield "recipient_codes", "name each code in one of the tables only"
        if bool(self.accepted.path) != bool(self.accepted.values):
            yield "accepted", "give both a path and the values that mean accepted, or neither"
        if not self.accepted.statuses <= set(range(200, 300)):
            yield "accepted.statuses", "only a 2xx can mean accepted"
        if not set(self.statuses) <= set(range(200, 600)) - set(range(300, 400)):
            yield "statuses", "name 2xx, 4xx and 5xx only; a redirect is never followed"
        if self.accepted.statuses & self.statuses.keys():
            yield "statuses", "a status that means accepted cannot be a fault too"


def _read_callback_value(path: str, callback: Callback) -> str:
    """Return what stands in this place of a callback. Raises KeyError if nothing does."""
    if callback.headers.get("content-type", "").startswith("application/json"):
        found = _find_value(path, HttpReply(0, callback.headers, b""), callback.json)
    else:
        found = callback.form.get(path) or callback.query.get(path)
    if found is None:
        raise KeyError(path)
    return found


def _decode_json_or_none(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _find_value(path: str, reply: HttpReply, body: Any) -> str | None:
    """Return what stands in this place of the reply as text, if it is one plain value."""
    if not path:
        return None
    if path.startswith(_HEADER_PREFIX):
        return reply.headers.get(path.removeprefix(_HEADER_PREFIX).lower())
    for step in path.split("."):
        if isinstance(body, list) and step.isdecimal() and int(step) < len(body):
            body = body[int(step)]
        else:
            body = body.get(step) if isinstance(body, dict) else None
    return to_text(body) if isinstance(body, str | int | float) else None
