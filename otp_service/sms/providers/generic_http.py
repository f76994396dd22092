"""Any gateway that accepts one HTTP POST for a message, described in the settings.

A reply is checked in this order:

    a code in recipient_codes or blocked_codes                   recipient: stop
    a code in account_codes, provider_codes or throttled_codes   provider: the next one
    a status in statuses                                         the configured fault
    a status in accepted.statuses (any 2xx if empty), and one of
    accepted.values at accepted.path                             accepted
    the same without accepted.path, and a value at message_id    accepted
    the same, without a value at message_id                      unknown
    another 2xx with another value at accepted.path, or a code   provider
    429 or 503 with Retry-After; any other 4xx                   provider
    any other 5xx or 2xx                                         unknown

A path into a reply is dotted for its JSON ("messages.0.status"), names a group of `reply_pattern` for
plain text, or is "header:X-Message-Id" (gateway_values.py). Receipts: gateway_receipts.py; messages from
phones: gateway_inbound.py. A gateway may send both to either address: a request with a word of the tables of
`receipt` is a receipt, and any other with a sender and a text is a message.

    type = "http"
    url = "https://sms.example/v1/messages"
    fields = { "messages.0.to" = "{to}", "messages.0.text" = "{text}", ttl = "{valid_seconds}" }
    secret_headers = { Authorization = "Bearer …" }
    message_id = "messages.0.id"
    code = "error.code"
    recipient_codes = ["invalid-number"]
"""

from functools import cached_property
from typing import Literal

import msgspec

from otp_service.core.delivery import Accepted, Fault, Message, Refused, Reply
from otp_service.core.gsm_alphabet import count_septets
from otp_service.core.secret import Secret
from otp_service.core.url_check import FieldErrors
from otp_service.sms import body_template
from otp_service.sms.fault_table import (
    FAULT_SCOPES,
    build_refusal,
    classify_by_status,
    reply_from_message_id,
)
from otp_service.sms.gateway_callbacks import GatewayCallbackSettings, is_json
from otp_service.sms.gateway_inbound import InboundMessageSettings
from otp_service.sms.gateway_receipts import GatewayCodes, ReceiptSettings
from otp_service.sms.gateway_values import (
    HEADER_PREFIX,
    find_value,
    list_pattern_groups,
    parse_body,
)
from otp_service.sms.http_provider import Headers, HttpProvider, HttpReply, HttpRequest
from otp_service.sms.inbound_token import TOKEN_PARAMETER, has_inbound_token
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackPart,
    CallbackSignatureError,
    SkippedEvent,
    UnreadableCallback,
)
from otp_service.sms.provider_settings import BasicAuth, HttpSettings
from otp_service.sms.router import ProviderDependencies
from otp_service.sms.sender_ids import SenderSelection
from otp_service.sms.validation import find_header_errors, find_provider_url_errors


CONTENT_TYPES = {"json": "application/json", "form": "application/x-www-form-urlencoded"}

StatusFault = Literal["recipient", "blocked", "provider", "account", "throttled", "unknown"]


class Acceptance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an accepted message is recognized, in addition to its id."""

    statuses: frozenset[int] = frozenset()
    """Empty for every 2xx."""
    path: str = ""
    values: GatewayCodes = frozenset()


class GenericHttp(HttpSettings, SenderSelection, frozen=True, kw_only=True, tag="http"):
    """The settings and dialect of one such gateway."""

    url: str
    body: body_template.BodyFormat = "json"
    fields: dict[str, body_template.FieldValue]
    """Name to template. In JSON a dotted name nests, and a number in it is an index in a list;
    a template that is only `{valid_seconds}` gives a number. An empty field is omitted, so `{from}`
    needs no sender."""
    unicode_fields: dict[str, body_template.FieldValue] = msgspec.field(default_factory=dict)
    """Added to `fields`, or in their place, for a text that GSM 03.38 cannot write."""
    secret_fields: dict[str, Secret] = msgspec.field(default_factory=dict)
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    secret_headers: dict[str, Secret] = msgspec.field(default_factory=dict)
    basic: BasicAuth | None = None
    sender: str = ""
    """The `{from}` of a tenant without a sender, and where names are not allowed."""
    senders: dict[str, str] = msgspec.field(default_factory=dict)
    """By country (libphonenumber region); takes precedence over all others."""

    reply_pattern: str = ""
    """For replies in plain text: a regular expression, whose named groups are its values."""
    accepted: Acceptance = Acceptance()
    message_id: str = ""
    """The path to the gateway's id of the message, if it has one."""
    code: str = ""
    """The path to its error code."""
    recipient_codes: GatewayCodes = frozenset()
    blocked_codes: GatewayCodes = frozenset()
    """Fraud blocks and opt-outs."""
    account_codes: GatewayCodes = frozenset()
    """Credentials, credit, senders: an operator has to act."""
    provider_codes: GatewayCodes = frozenset()
    throttled_codes: GatewayCodes = frozenset()
    receipt: ReceiptSettings | None = None
    inbound: InboundMessageSettings | None = None
    """Without it no message from a phone is read."""
    statuses: dict[int, StatusFault] = msgspec.field(default_factory=dict)

    @property
    def acknowledgement(self) -> tuple[int, bytes]:
        """204, or what `receipt` says."""
        return self.receipt.acknowledgement if self.receipt else (204, b"")

    @property
    def inbound_acknowledgement(self) -> tuple[int, bytes]:
        """What `inbound` says, or the answer to a receipt."""
        return self.inbound.acknowledgement if self.inbound else self.acknowledgement

    @property
    def has_sender_pool(self) -> bool:
        """Without `{from}` the gateway selects the sender."""
        return not body_template.uses_placeholder(self.fields | self.unicode_fields, "from")

    def requires_signature(self, callback: Callback) -> bool:
        """Whether the callback needs a key of `receipt` or `inbound`, in the place of a signature.

        An address with a token needs no key: the token is checked where it is known what it is of.
        """
        has_key = any(table.key for table in self._callback_tables)
        has_token = TOKEN_PARAMETER in callback.query
        return has_key and not (has_token or has_inbound_token(callback, self.inbound_tokens))

    def build_provider(self, name: str, dependencies: ProviderDependencies) -> HttpProvider:
        return HttpProvider(name, self, dependencies.transport)

    def build_request(self, message: Message) -> HttpRequest:
        """Return the POST; only its body has parts of the message (R43)."""
        is_gsm = count_septets(message.text) is not None
        template = self._gsm_template if is_gsm else self._unicode_template
        body = template.render(message, self.select_sender_id(message))
        return HttpRequest("POST", self.url, self._request_headers, body)

    def interpret_reply(self, reply: HttpReply) -> Reply:
        """Return the meaning of the reply, by the table above."""
        body = parse_body(reply.body, self.reply_pattern)
        code = find_value(self.code, reply.headers, body)
        fault = self._faults_by_code.get(code or "") or self.statuses.get(reply.status)
        if fault:
            return _build_refusal(fault, reply, code)
        word = find_value(self.accepted.path, reply.headers, body)
        if self._is_accepted(reply, word):
            message_id = find_value(self.message_id, reply.headers, body)
            is_certain = bool(self.accepted.path) or not self.message_id
            return Accepted(message_id) if is_certain else reply_from_message_id(message_id)
        is_other_word = word is not None and word not in self._accepted_values
        if (code or is_other_word) and reply.is_2xx:
            return build_refusal(Fault.PROVIDER, reply, code or word)
        return classify_by_status(reply, code)

    def parse_callback(self, callback: Callback) -> list[CallbackPart]:
        """Return the receipt, as `receipt` describes it, or the message, as `inbound` does.

        The key of one of them proves nothing of the other. Raises CallbackSignatureError without any.
        """
        if not self._callback_tables:
            raise UnreadableCallback
        has_receipt_key, has_inbound_key = (
            table is not None and table.has_key(callback) for table in (self.receipt, self.inbound)
        )
        if self.requires_signature(callback) and not (has_receipt_key or has_inbound_key):
            raise CallbackSignatureError
        receipt = self.receipt and self.receipt.parse_receipt(callback, is_signed=has_receipt_key)
        if receipt and receipt.status != "pending":
            return [receipt]
        message = self.inbound and self.inbound.parse_message(callback, is_signed=has_inbound_key)
        return [message or receipt or _skip_other_event(callback)]

    def find_errors(self) -> list[tuple[str, str]]:
        secret_headers = {name: value.reveal() for name, value in self.secret_headers.items()}
        return [
            *find_provider_url_errors(self.url),
            *find_header_errors("headers", self.headers, secret=False),
            *find_header_errors("secret_headers", secret_headers, secret=True),
            *self._find_credential_errors(),
            *body_template.find_body_errors(self.body, self.fields, self.secret_fields),
            *self._find_unicode_errors(),
            *self._find_table_errors(),
            *self._find_path_errors(),
            *self.find_sender_errors(),
            *(self.receipt.find_errors() if self.receipt else ()),
            *(self.inbound.find_errors(has_token=bool(self.inbound_token)) if self.inbound else ()),
        ]

    @property
    def _callback_tables(self) -> tuple[GatewayCallbackSettings, ...]:
        return tuple(table for table in (self.receipt, self.inbound) if table)

    @cached_property
    def _request_headers(self) -> Headers:
        headers = {"content-type": CONTENT_TYPES[self.body]}
        headers |= {name.lower(): value for name, value in self.headers.items()}
        headers |= {name.lower(): value.reveal() for name, value in self.secret_headers.items()}
        if self.basic:
            headers["authorization"] = self.basic.header
        return tuple(headers.items())

    @cached_property
    def _gsm_template(self) -> body_template.BodyTemplate:
        return body_template.BodyTemplate(self.body, self.fields, self.secret_fields)

    @cached_property
    def _unicode_template(self) -> body_template.BodyTemplate:
        fields = self.fields | self.unicode_fields
        return body_template.BodyTemplate(self.body, fields, self.secret_fields)

    @property
    def _code_tables(self) -> dict[StatusFault, GatewayCodes]:
        return {
            "recipient": self.recipient_codes,
            "blocked": self.blocked_codes,
            "account": self.account_codes,
            "provider": self.provider_codes,
            "throttled": self.throttled_codes,
        }

    @cached_property
    def _faults_by_code(self) -> dict[str, StatusFault]:
        return {str(code): name for name, codes in self._code_tables.items() for code in codes}

    @cached_property
    def _accepted_values(self) -> frozenset[str]:
        return frozenset(map(str, self.accepted.values))

    def _is_accepted(self, reply: HttpReply, word: str | None) -> bool:
        if reply.status not in (self.accepted.statuses or range(200, 300)):
            return False
        return not self.accepted.path or word in self._accepted_values

    def _find_credential_errors(self) -> FieldErrors:
        names = {name.lower() for name in self.headers}
        for name in self.secret_headers:
            if name.lower() in names or (self.basic and name.lower() == "authorization"):
                yield f"secret_headers.{name}", "name this header once"
        if self.basic and ":" in self.basic.username:
            yield "basic.username", "use a name without ':'"

    def _find_table_errors(self) -> FieldErrors:
        codes = [str(code) for table in self._code_tables.values() for code in table]
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

    def _find_unicode_errors(self) -> FieldErrors:
        fields = self.fields | self.unicode_fields
        for _, remedy in body_template.find_body_errors(self.body, fields, self.secret_fields):
            if self.unicode_fields:
                yield "unicode_fields", remedy

    def _find_path_errors(self) -> FieldErrors:
        """Yield the errors of a pattern, and of paths to groups that it does not have."""
        if not self.reply_pattern:
            return
        try:
            groups = list_pattern_groups(self.reply_pattern)
        except ValueError as error:
            yield "reply_pattern", str(error)
            return
        paths = {
            "accepted.path": self.accepted.path,
            "message_id": self.message_id,
            "code": self.code,
        }
        for field, path in paths.items():
            if path and path not in groups and not path.startswith(HEADER_PREFIX):
                yield field, f"name a group of reply_pattern: {', '.join(groups) or '(?P<name>…)'}"


def _skip_other_event(callback: Callback) -> SkippedEvent:
    """Return OTHER. Raises UnreadableCallback for a form or an address without any field."""
    if not is_json(callback):
        _ = callback.fields
    return SkippedEvent.OTHER


def _build_refusal(fault: StatusFault, reply: HttpReply, code: str | None) -> Refused:
    if fault == "unknown":
        return build_refusal(Fault.UNKNOWN, reply, code)
    known, scope = FAULT_SCOPES[fault]
    return build_refusal(known, reply, code, None if fault == "provider" else scope)
