"""Any product that calls a URL with JSON, described in the settings: Logto, Kratos, Keycloak, FusionAuth.

    phone_number = "to", code = "payload.code"      {"to": "+44…", "payload": {"code": "864209"}}

How a request proves its sender:

    bearer              Authorization: Bearer SECRET
    hmac                `header` is the HMAC-SHA-256 of the body, in hexadecimal digits or base64
    standard-webhooks   webhook-id, webhook-timestamp and webhook-signature

Only the last one has a time. So the same body is sent once in 24 hours, whichever is used.
"""

import base64
import hmac
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Literal

import msgspec

from otp_service.core.errors import InvalidRequest
from otp_service.core.json_path import find_json_value
from otp_service.core.standard_webhook import decode_webhook_secret
from otp_service.core.url_check import FieldErrors
from otp_service.hooks.hook import (
    HookAnswer,
    HookDelivery,
    HookRequest,
    HookSettings,
    HookSignatureError,
    has_equal,
)
from otp_service.hooks.payload import NO_CODE_MESSAGE, decode_payload, find_text, require_text


MIN_WEBHOOK_KEY_BYTES: Final = 24
"""Standard Webhooks asks for 24 to 64."""

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_PATH_FIELDS: Final = ("phone_number", "code", "locale", "account", "client_ip")
_PATH_PATTERN: Final = re.compile(r"[^.\s]+(\.[^.\s]+)*")


class Generic(HookSettings, frozen=True, kw_only=True, tag="generic"):
    """The paths of the values in the JSON, the proof of the sender, and the answer."""

    authentication: Literal["bearer", "hmac", "standard-webhooks"] = "bearer"
    header: str = ""
    """Of `hmac`: the header that has the signature."""
    encoding: Literal["hex", "base64"] = "hex"
    phone_number: str
    code: str
    locale: str = ""
    account: str = ""
    client_ip: str = ""
    conditions: dict[str, str] = msgspec.field(default_factory=dict)
    """The text that a request must have at a path, such as a channel; any other is refused."""
    success_status: Literal[200, 204] = 204
    success_body: str = ""
    """JSON, for a product that reads the answer. It needs the status 200."""

    @property
    def provided_members(self) -> frozenset[str]:
        return frozenset(name for name in ("account", "client_ip") if getattr(self, name))

    def verify_signature(self, request: HookRequest) -> None:
        match self.authentication:
            case "bearer":
                self._verify_bearer(request)
            case "hmac":
                self._verify_hmac(request)
            case _:
                request.require_webhook_signature(self.list_keys())

    def _verify_bearer(self, request: HookRequest) -> None:
        scheme, _, key = request.require_header("authorization").partition(" ")
        expected = [secret.reveal() for secret in self.secrets.values()]
        if scheme.lower() != "bearer" or not has_equal(key.strip(" "), expected):
            raise HookSignatureError("unknown")

    def _verify_hmac(self, request: HookRequest) -> None:
        # GitHub and others name the function before the signature.
        given = request.require_header(self.header.lower()).removeprefix("sha256=")
        given = given.lower() if self.encoding == "hex" else given
        encode = _DIGEST_ENCODERS[self.encoding]
        macs = [hmac.digest(key, request.body, "sha256") for key in self.list_keys()]
        if not has_equal(given, map(encode, macs)):
            raise HookSignatureError("signature")

    def parse_delivery(self, request: HookRequest) -> HookDelivery:
        payload = decode_payload(request.body)
        for path, text in self.conditions.items():
            if find_json_value(path, payload) != text:
                raise InvalidRequest((path, "is not what conditions of the hook ask for"))
        find = partial(find_text, payload)
        return HookDelivery(
            phone_number=require_text(payload, self.phone_number),
            code=require_text(payload, self.code, NO_CODE_MESSAGE),
            locale=find(self.locale),
            account=find(self.account),
            client_ip=find(self.client_ip),
            identity=(request.body,),
        )

    def build_success(self) -> HookAnswer:
        return HookAnswer(self.success_status, self.success_body.encode())

    def find_errors(self) -> FieldErrors:
        yield from super().find_errors()
        paths: dict[str, Any] = {name: getattr(self, name) for name in _PATH_FIELDS}
        for name, path in paths.items():
            if path and not _PATH_PATTERN.fullmatch(path):
                yield name, "write names and places in lists, with full stops: messages.0.to"
        for name in ("phone_number", "code"):
            if not paths[name]:
                yield name, "is empty: write where it is in the JSON"
        if (self.authentication == "hmac") != bool(_HEADER_NAME.fullmatch(self.header)):
            yield "header", "name the header with the signature for hmac, and only for hmac"
        if self.success_body and (self.success_status != 200 or not _is_json(self.success_body)):  # noqa: PLR2004  # a 204 has no body
            yield "success_body", "must be JSON, and needs success_status = 200"

    def decode_keys(self, secret: str) -> list[bytes]:
        if self.authentication == "standard-webhooks":
            return [decode_webhook_secret(secret)]
        return super().decode_keys(secret)

    def find_secret_error(self, secret: str) -> str | None:
        if self.authentication == "standard-webhooks":
            if len(decode_webhook_secret(secret)) < MIN_WEBHOOK_KEY_BYTES:
                return f"must be whsec_ and base64 of {MIN_WEBHOOK_KEY_BYTES} or more bytes"
            return None
        return super().find_secret_error(secret)


def _encode_base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _is_json(text: str) -> bool:
    try:
        decode_payload(text.encode())
    except InvalidRequest:
        return False
    return True


_DIGEST_ENCODERS: Final[Mapping[str, Callable[[bytes], str]]] = {
    "hex": bytes.hex,
    "base64": _encode_base64,
}
