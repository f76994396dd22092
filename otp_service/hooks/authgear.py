"""Authgear: the custom SMS provider as a webhook, signed with the webhook secret of the project.

    x-authgear-body-signature: HEX      HMAC-SHA-256 over the body

Sources: authgear/authgear-server 78590fa, pkg/lib/hook/hook_web.go; 04dac48, pkg/lib/infra/sms/custom (the
`code` of the answer decides, whatever the status; it is called once, and waits for 60 s by default);
e83403b, docs/specs/sms_gateway.md (what each code means, and that the person may see `description`).

The signature has no time. So the same body is sent once in 24 hours.
"""

import hmac
from typing import Final

from otp_service.core import errors
from otp_service.core.errors import OtpError
from otp_service.hooks.hook import (
    HookAnswer,
    HookDelivery,
    HookRequest,
    HookSettings,
    HookSignatureError,
    describe_refusal,
    encode_answer,
    has_equal,
)
from otp_service.hooks.payload import NO_CODE_MESSAGE, decode_payload, find_text, require_text


SIGNATURE_HEADER: Final = "x-authgear-body-signature"


class Authgear(HookSettings, frozen=True, kw_only=True, tag="authgear"):
    """A project. A secret is its webhook signature secret."""

    def verify_signature(self, request: HookRequest) -> None:
        given = request.require_header(SIGNATURE_HEADER)
        macs = [hmac.digest(key, request.body, "sha256").hex() for key in self.list_keys()]
        if not has_equal(given, macs):
            raise HookSignatureError("signature")

    def parse_delivery(self, request: HookRequest) -> HookDelivery:
        payload = decode_payload(request.body)
        return HookDelivery(
            phone_number=require_text(payload, "to"),
            code=require_text(payload, "template_variables.code", NO_CODE_MESSAGE),
            locale=find_text(payload, "language_tag"),
            identity=(request.body,),
        )

    def build_success(self) -> HookAnswer:
        return HookAnswer(200, encode_answer({"code": "ok"}))

    def build_refusal(self, error: OtpError, status: int) -> HookAnswer | None:
        answer = {"code": _find_code(error), "description": describe_refusal(error)}
        return HookAnswer(status, encode_answer(answer))


def _find_code(error: OtpError) -> str:
    """Return the code of Authgear that fits a refusal."""
    match error:
        case errors.Unauthenticated():
            return "authentication_failed"
        case errors.InvalidPhoneNumber():
            return "invalid_phone_number"
        case errors.RateLimited():
            return "rate_limited"
        case errors.InvalidRequest():
            return "unsupported_request"
        case errors.TemporarilyUnavailable() | errors.DeliveryFailed():
            return "timeout"  # after which Authgear asks the person to try again later
        case _:
            return "delivery_rejected"
