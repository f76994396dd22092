"""Any gateway that accepts one HTTP POST for a message, described in the settings.

A reply is checked in this order:

    a code in recipient_codes                                    recipient: stop
    a code in provider_codes or throttled_codes                  provider: the next one
    a status in statuses                                         the configured fault
    a status in accepted.statuses (any 2xx if empty), one of
    accepted.values at accepted.path, and a value at message_id  accepted
    the same, without a value at message_id                      unknown
    another 2xx with a code: the gateway named an error          provider
    429 or 503 with Retry-After; any other 4xx                   provider
    any other 5xx or 2xx                                         unknown

A path into a reply is dotted for its JSON ("messages.0.status"), or "header:X-Message-Id".

    type = "http"
    url = "https://sms.example/v1/messages"
    fields = { "messages.0.to" = "{to}", "messages.0.text" = "{text}", ttl = "{valid_seconds}" }
    secret_headers = { Authorization = "Bearer …" }
    message_id = "messages.0.id"
    code = "error.code"
    recipient_codes = ["invalid-number"]
"""

from functools import cached_property
from typing import Any

import msgspec

from otp_service.core.delivery import Accepted, Fault, Message, Receipt, RefusalScope, Reply
from otp_service.core.secret import Secret
from otp_service.core.url_check import FieldErrors
from otp_service.sms import body_template
from otp_service.sms.fault_table import build_refusal, classify_by_status, reply_from_message_id
from otp_service.sms.http_provider import Headers, HttpProvider, HttpReply, HttpRequest
from otp_service.sms.provider_settings import BasicAuth, HttpSettings
from otp_service.sms.receipt_callbacks import Callback, CallbackPart, UnreadableReceipt
from otp_service.sms.reply_decoder import decode_json
from otp_service.sms.router import ProviderDependencies
from otp_service.sms.validation import find_header_errors, find_provider_url_errors


VendorCodes = frozenset[str | int]

CONTENT_TYPES = {"json": "application/json", "form": "application/x-www-form-urlencoded"}

_HEADER_PREFIX = "header:"


class Acceptance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an accepted message is recognized, in addition to its id."""

    statuses: frozenset[int] = frozenset()
    """Empty for every 2xx."""
    path: str = ""
    values: VendorCodes = frozenset()


class ReceiptSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to read the receipts that the gateway sends to the address in `{callback}`."""

    status: str
    """The place of the status: a dotted path into the JSON, or a field of the form or query."""
    delivered: VendorCodes = frozenset()
    undeliverable: VendorCodes = frozenset()
    """The number's fault: no gateway could have delivered it."""
    failed: VendorCodes = frozenset()
    """Final, and another gateway may deliver it."""


class GenericHttp(HttpSettings, frozen=True, kw_only=True, tag="http"):
    """The settings and dialect of one such gateway."""

    url: str
    body: body_template.BodyFormat = "json"
    fields: dict[str, body_template.FieldValue]
    """Name to template. In JSON a dotted name nests, and a number in it is an index in a list;
    a template that is only `{valid_seconds}` gives a number. An empty field is omitted, so `{from}`
    needs no sender."""
    secret_fields: dict[str, Secret] = msgspec.field(default_factory=dict)
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    secret_headers: dict[str, Secret] = msgspec.field(default_factory=dict)
    basic: BasicAuth | None = None
    sender: str = ""
    """The `{from}` of a tenant without a sender."""

    accepted: Acceptance = Acceptance()
    message_id: str = ""
    """The path to the gateway's id of the message, if it has one."""
    code: str = ""
    """The path to its error code."""
    recipient_codes: VendorCodes = frozenset()
    provider_codes: VendorCodes = frozenset()
    throttled_codes: VendorCodes = frozenset()
    receipt: ReceiptSettings | None = None
    statuses: dict[int, Fault] = msgspec.field(default_factory=dict)

    def build_provider(self, name: str, dependencies: ProviderDependencies) -> HttpProvider:
        return HttpProvider(name, self, dependencies.transport)

    def build_request(self, message: Message) -> HttpRequest:
        """Return the POST; only its body has parts of the message (R43)."""
        body = self._body_template.render(message, self.sender)
        return HttpRequest("POST", self.url, self._request_headers, body)

    def interpret_reply(self, reply: HttpReply) -> Reply:
        """Return the meaning of the reply, by the table above."""
        body = _decode_json_or_none(reply.body)
        code = _find_value(self.code, reply, body)
        fault = self._faults_by_code.get(code or "") or self.statuses.get(reply.status)
        if fault:
            scope = RefusalScope.THROTTLED if code in self._throttled_codes else None
            return build_refusal(fault, reply, code, scope)
        if self._is_accepted(reply, body):
            message_id = _find_value(self.message_id, reply, body)
            if self.accepted.path or not self.message_id:
                return Accepted(message_id)
            return reply_from_message_id(message_id)
        if code and reply.is_2xx:
            return build_refusal(Fault.PROVIDER, reply, code)
        return classify_by_status(reply, code)

    def parse_receipts(self, callback: Callback) -> list[CallbackPart]:
        """Return the receipt; a word that is in no table is pending."""
        if self.receipt is None:
            raise UnreadableReceipt
        word = _read_callback_value(self.receipt.status, callback)
        if word in map(str, self.receipt.delivered):
            return [Receipt("delivered")]
        if word in map(str, self.receipt.undeliverable):
            return [Receipt("permanent-failure", reason=word)]
        if word in map(str, self.receipt.failed):
            return [Receipt("technical-failure", reason=word)]
        return [Receipt("pending")]

    def find_errors(self) -> list[tuple[str, str]]:
        secret_headers = {name: value.reveal() for name, value in self.secret_headers.items()}
        return [
            *find_provider_url_errors(self.url),
            *find_header_errors("headers", self.headers, secret=False),
            *find_header_errors("secret_headers", secret_headers, secret=True),
            *self._find_credential_errors(),
            *body_template.find_body_errors(self.body, self.fields, self.secret_fields),
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
    def _body_template(self) -> body_template.BodyTemplate:
        return body_template.BodyTemplate(self.body, self.fields, self.secret_fields)

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

    def _find_credential_errors(self) -> FieldErrors:
        names = {name.lower() for name in self.headers}
        for name in self.secret_headers:
            if name.lower() in names or (self.basic and name.lower() == "authorization"):
                yield f"secret_headers.{name}", "name this header once"
        if self.basic and ":" in self.basic.username:
            yield "basic.username", "use a name without ':'"

    def _find_table_errors(self) -> FieldErrors:
        tables = (self.recipient_codes, self.provider_codes, self.throttled_codes)
        codes = [str(code) for table in tables for code in table]
        if codes and not self.code:
            yield "code", "give the path to the gateway's error code in a reply"
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
    """Return the value at this path of a callback. Raises UnreadableReceipt without one."""
    if callback.headers.get("content-type", "").startswith("application/json"):
        found = _find_value(path, HttpReply(0, callback.headers, b""), callback.json)
    else:
        found = callback.form.get(path) or callback.query.get(path)
    if found is None:
        raise UnreadableReceipt
    return found


def _decode_json_or_none(body: bytes) -> Any:
    try:
        return decode_json(body)
    except ValueError:
        return None


def _find_value(path: str, reply: HttpReply, body: Any) -> str | None:
    """Return the value at this path of the reply as text, if it is one plain value."""
    if not path:
        return None
    if path.startswith(_HEADER_PREFIX):
        return reply.headers.get(path.removeprefix(_HEADER_PREFIX).lower())
    for step in path.split("."):
        if isinstance(body, list) and step.isdecimal() and int(step) < len(body):
            body = body[int(step)]
        else:
            body = body.get(step) if isinstance(body, dict) else None
    return body_template.to_text(body) if isinstance(body, str | int | float) else None
