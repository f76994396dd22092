"""Supabase Auth: the send-SMS hook over HTTP, signed as Standard Webhooks.

Sources: supabase/auth bc32168, internal/hooks/hookshttp (transport and statuses), hookserrors (refusals),
v0hooks (members), internal/api/phone.go and mfa.go (numbers).

What was decided from them:

- It signs with each secret and joins the signatures with ", ".
- Each of three tries has a new id and time, and the same body. So a repeat is known by what it asks to send.
- Only 429 and 503 with Retry-After are tried again, at once, and lost connections after two seconds, all
  within five. So 503 is an outage in which nothing was sent, and a refusal is 200 with an `error`.
- If it gets no answer, it forgets the code. So the answer comes within those five seconds, also after
  one lost connection, while the message is still being sent.
- A number has no plus. `sms.phone` is where the code goes, since Auth 2.180. Before, only `user.phone` was
  sent: the old number while it is being changed, and not that of a second factor.
"""

import re
from typing import Any, Final

from otp_service.core import errors
from otp_service.core.errors import InvalidRequest, OtpError
from otp_service.core.standard_webhook import decode_webhook_secret
from otp_service.hooks.hook import (
    AnswerSeconds,
    HookAnswer,
    HookDelivery,
    HookRequest,
    HookSettings,
    ValidMinutes,
    describe_refusal,
    encode_answer,
)
from otp_service.hooks.payload import NO_CODE_MESSAGE, decode_payload, find_text, require_text


UNKNOWN_NUMBER_MESSAGE: Final = (
    "is missing, so the number for this code is unknown: user.phone is the old one while it is being"
    " changed, and not that of a second factor. Update Supabase Auth to 2.180 or later"
)

_SECRET_PATTERN: Final = re.compile(r"v1,whsec_[A-Za-z0-9+/=_-]{32,}")


class Supabase(HookSettings, frozen=True, kw_only=True, tag="supabase"):
    """A project. A secret is `v1,whsec_…`, or several of them joined with `|`, as Supabase has it."""

    valid_minutes: ValidMinutes = 1  # GOTRUE_SMS_OTP_EXP is 60 seconds unless it is changed
    answer_seconds: AnswerSeconds = 2.5
    client_ip: bool = True
    """Whether `metadata.ip_address` is the person's, and limits of addresses apply to it."""

    @property
    def provided_members(self) -> frozenset[str]:
        return frozenset({"account", "client_ip"} if self.client_ip else {"account"})

    def verify_signature(self, request: HookRequest) -> None:
        request.require_webhook_signature(self.list_keys())

    def parse_delivery(self, request: HookRequest) -> HookDelivery:
        payload = decode_payload(request.body)
        code = require_text(payload, "sms.otp", NO_CODE_MESSAGE)
        number = f"+{_require_number(payload).removeprefix('+')}"
        user = find_text(payload, "user.id")
        return HookDelivery(
            phone_number=number,
            code=code,
            client_ip=find_text(payload, "metadata.ip_address") if self.client_ip else None,
            account=user,
            identity=((user or "").encode(), number.encode(), code.encode()),
        )

    def build_success(self) -> HookAnswer:
        return HookAnswer(200, b"{}")

    def build_refusal(self, error: OtpError, status: int) -> HookAnswer | None:
        """Return 200 with the refusal, which the person sees; None for what Supabase handles itself."""
        if isinstance(error, errors.TemporarilyUnavailable | errors.Unauthenticated):
            return None
        refusal = {"http_code": status, "message": describe_refusal(error)}
        return HookAnswer(200, encode_answer({"error": refusal}))

    def decode_keys(self, secret: str) -> list[bytes]:
        return [decode_webhook_secret(each.removeprefix("v1,")) for each in secret.split("|")]

    def find_secret_error(self, secret: str) -> str | None:
        is_similar = all(map(_SECRET_PATTERN.fullmatch, secret.split("|")))
        if not is_similar or not all(self.decode_keys(secret)):
            return "must be v1,whsec_ and base64, as the hook's page of Supabase shows it"
        return None


def _require_number(payload: dict[str, Any]) -> str:
    """Return the number to which the code goes. Raises InvalidRequest if that is uncertain."""
    if number := find_text(payload, "sms.phone"):
        return number
    if find_text(payload, "user.new_phone") or find_text(payload, "sms.sms_type"):
        raise InvalidRequest(("sms.phone", UNKNOWN_NUMBER_MESSAGE))
    return require_text(payload, "user.phone")
