"""The settings of the risk service."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from otp_service.core.secret import Secret
from otp_service.core.standard_webhook import SECRET_PREFIX, decode_webhook_secret
from otp_service.core.url_check import FieldErrors, find_url_errors


MAX_DEADLINE_MS: Final = 300
"""A person waits for the message meanwhile, and a slot for sending is in use."""

MIN_SECRET_BYTES: Final = 24
"""Of a key of Standard Webhooks, which has 24 to 64."""


class RiskSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[risk]: the service that is asked before a send."""

    url: str
    secret: Secret
    """`whsec_` and base64: each request is signed with it."""
    on_failure: Literal["allow", "refuse"]
    """What a send is without an answer. There is no default: both have a cost that only you know."""
    deadline_milliseconds: Annotated[int, Meta(ge=10, le=MAX_DEADLINE_MS)] = MAX_DEADLINE_MS
    number: Literal["e164", "pseudonym"] = "e164"

    @property
    def deadline_seconds(self) -> float:
        return self.deadline_milliseconds / 1000

    @property
    def signing_key(self) -> bytes:
        return decode_webhook_secret(self.secret.reveal())

    def find_errors(self) -> FieldErrors:
        """Yield the errors that a type alone cannot express."""
        example = "https://risk.example/check"
        yield from find_url_errors("url", self.url, example=example, content="numbers and accounts")
        if set(self.url) & set("?#"):
            yield (
                "url",
                f"write it without a query, like {example}: the signature proves the sender",
            )
        secret = self.secret.reveal()
        if not secret.startswith(SECRET_PREFIX) or len(self.signing_key) < MIN_SECRET_BYTES:
            yield "secret", f"must be whsec_ and base64 of {MIN_SECRET_BYTES} or more random bytes"
