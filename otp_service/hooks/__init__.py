"""Requests of identity products that have generated a code, and ask for a message with it.

    request → verify_signature → parse_delivery → OtpService.deliver → build_success or build_refusal

Each type of hook is one frozen struct: its settings, selected by `type`, and pure functions that read
the product's request and write the answer that it understands. `api/hooks.py` has the HTTP part.
"""

from otp_service.hooks.authgear import Authgear
from otp_service.hooks.generic import Generic
from otp_service.hooks.hook import (
    HookAnswer,
    HookDelivery,
    HookRequest,
    HookSettings,
    HookSignatureError,
)
from otp_service.hooks.supabase import Supabase
from otp_service.hooks.zitadel import Zitadel


__all__ = [
    "Authgear",
    "Generic",
    "Hook",
    "HookAnswer",
    "HookDelivery",
    "HookRequest",
    "HookSettings",
    "HookSignatureError",
    "Supabase",
    "Zitadel",
]

Hook = Authgear | Generic | Supabase | Zitadel
"""The only list of hooks, and so of the values of `type` in their settings."""
