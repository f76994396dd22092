"""Zitadel: the SMS provider of type HTTP, signed with the signing key of the provider.

    ZITADEL-Signature: t=1794916800,v1=HEX      HMAC-SHA-256 over "1794916800." and the body

Sources: zitadel/zitadel 0e7a14e, pkg/actions/signing.go; 89ad958, internal/notification/channels/webhook
(any 2xx is success, after five seconds it gives up); e20d684, internal/notification/handlers (a failure is
tried again with the same code). The names of arguments begin with a lower-case letter, so that the code of a
login is `args.oTP`, and that of a number or a password `args.code`.
"""

import hmac
from typing import Any, Final

from otp_service.core.errors import InvalidRequest
from otp_service.hooks.hook import (
    AnswerSeconds,
    HookAnswer,
    HookDelivery,
    HookRequest,
    HookSettings,
    HookSignatureError,
    has_equal,
)
from otp_service.hooks.payload import NO_CODE_MESSAGE, decode_payload, find_text, require_text


SIGNATURE_HEADER: Final = "zitadel-signature"
NUMBER_PATH: Final = "contextInfo.recipientPhoneNumber"
LOGIN_CODE_PATH: Final = "args.oTP"
OTHER_CODE_PATH: Final = "args.code"


class Zitadel(HookSettings, frozen=True, kw_only=True, tag="zitadel"):
    """An instance. A secret is the `signingKey` that Zitadel returned for the provider."""

    answer_seconds: AnswerSeconds = 4.0

    def verify_signature(self, request: HookRequest) -> None:
        header = request.require_header(SIGNATURE_HEADER)
        pairs = [part.strip().partition("=") for part in header.split(",")]
        timestamps = [value for name, _, value in pairs if name == "t"]
        if len(timestamps) != 1:
            raise HookSignatureError("signature")
        signed = f"{timestamps[0]}.".encode(errors="replace") + request.body
        expected = [hmac.digest(key, signed, "sha256").hex() for key in self.list_keys()]
        given = [value for name, _, value in pairs if name == "v1"]
        if not any(has_equal(each, expected) for each in given):
            raise HookSignatureError("signature")
        request.require_recent_time(timestamps[0])

    def parse_delivery(self, request: HookRequest) -> HookDelivery:
        payload = decode_payload(request.body)
        number, code = require_text(payload, NUMBER_PATH), _require_code(payload)
        event = find_text(payload, "contextInfo.eventType") or ""
        return HookDelivery(
            phone_number=number,
            code=code,
            identity=(event.encode(), number.encode(), code.encode()),
        )

    def build_success(self) -> HookAnswer:
        return HookAnswer(200, b"{}")


def _require_code(payload: dict[str, Any]) -> str:
    """Return the code. Raises InvalidRequest if it is missing, or if two codes differ."""
    code = find_text(payload, LOGIN_CODE_PATH)
    if code is None:
        return require_text(payload, OTHER_CODE_PATH, NO_CODE_MESSAGE)
    if find_text(payload, OTHER_CODE_PATH) not in {None, code}:
        raise InvalidRequest((OTHER_CODE_PATH, f"differs from {LOGIN_CODE_PATH}"))
    return code
