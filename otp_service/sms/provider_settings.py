"""What can be set for every provider that speaks HTTP, and for every named vendor among them."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from otp_service.core.delivery import Message, Receipt
from otp_service.sms.callbacks import Callback
from otp_service.sms.http_provider import HttpProvider
from otp_service.sms.router import Tools
from otp_service.sms.sender_ids import sender_faults, sender_for, serves
from otp_service.sms.validation import url_faults


Seconds = Annotated[float, msgspec.Meta(gt=0, le=30)]


class HttpSettings(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    dict=True,  # a place for cached_property
    tag_field="type",
    forbid_unknown_fields=True,
):
    """What can be set for every HTTP provider."""

    connect_timeout: Seconds = 2.0
    read_timeout: Seconds = 5.0

    @property
    def acknowledgement(self) -> tuple[int, bytes]:
        """204 and nothing, where the vendor has no wish of its own."""
        return 204, b""

    def needs(self, callback: Callback) -> str | None:  # noqa: ARG002  # see Dialect
        """Nothing: most vendors sign with a key that stands in the settings."""
        return None

    def receipts(self, callback: Callback) -> Sequence[Receipt]:
        """Nothing: a vendor that brings no receipts is never asked."""
        raise ValueError(f"no receipts are understood, {callback.method} or other")


class VendorSettings(HttpSettings, frozen=True, kw_only=True):
    """What can be set for every named vendor; each gives `base_url` its own default."""

    base_url: str
    sender: str = ""
    """A number or a name of ours; for a tenant that has no sender, and where names are not taken."""
    senders: dict[str, str] = msgspec.field(default_factory=dict)
    """By country (libphonenumber region), before all others."""

    def sender_for(self, message: Message) -> str:
        """Return the sender for this destination; empty if there is none that may be used."""
        return sender_for(self, message)

    def serves(self, place: str) -> bool:
        """Whether messages to this country, or to numbers that begin so, have a sender."""
        return serves(self, place)

    def as_sender(self, name: str, tools: Tools) -> HttpProvider:
        """Return the provider that speaks this dialect."""
        return HttpProvider(name, self, tools.transport, now=tools.now)  # type: ignore[arg-type]  # a dialect is one

    def address(self, path: str) -> str:
        """Return where requests for this path go."""
        return self.base_url.rstrip("/") + path

    def faults(self) -> list[tuple[str, str]]:
        """Return what is wrong or unsafe in these settings, as (field, remedy)."""
        named = [("base_url", remedy) for _, remedy in url_faults(self.base_url)]
        return [*named, *sender_faults(self)]
