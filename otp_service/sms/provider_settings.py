"""What can be set for every provider that speaks HTTP, and for every named vendor among them."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from otp_service.core.delivery import Message, Receipt
from otp_service.sms.http_provider import HttpProvider
from otp_service.sms.receipt_callbacks import Callback
from otp_service.sms.router import ProviderDependencies
from otp_service.sms.sender_ids import can_serve, find_sender_errors, select_sender_id
from otp_service.sms.validation import find_provider_url_errors


TimeoutSeconds = Annotated[float, msgspec.Meta(gt=0, le=30)]


class HttpSettings(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    dict=True,  # a place for cached_property
    tag_field="type",
    forbid_unknown_fields=True,
):
    """What can be set for every HTTP provider."""

    connect_timeout: TimeoutSeconds = 2.0
    read_timeout: TimeoutSeconds = 5.0

    @property
    def acknowledgement(self) -> tuple[int, bytes]:
        """204 and nothing, where the vendor has no wish of its own."""
        return 204, b""

    def find_certificate_url(self, callback: Callback) -> str | None:  # noqa: ARG002  # see Dialect
        """Nothing: most vendors sign with a key that stands in the settings."""
        return None

    def parse_receipts(self, callback: Callback) -> Sequence[Receipt]:
        """Nothing: a vendor that brings no receipts is never asked."""
        raise ValueError(f"no receipts are understood, {callback.method} or other")


class VendorSettings(HttpSettings, frozen=True, kw_only=True):
    """What can be set for every named vendor; each gives `base_url` its own default."""

    base_url: str
    sender: str = ""
    """A number or a name of ours; for a tenant that has no sender, and where names are not taken."""
    senders: dict[str, str] = msgspec.field(default_factory=dict)
    """By country (libphonenumber region), before all others."""

    def select_sender_id(self, message: Message) -> str:
        """Return the sender for this destination; empty if there is none that may be used."""
        return select_sender_id(self, message)

    def can_serve(self, destination: str) -> bool:
        """Whether messages to this country, or to numbers that begin so, have a sender."""
        return can_serve(self, destination)

    def build_provider(self, name: str, dependencies: ProviderDependencies) -> HttpProvider:
        """Return the provider that speaks this dialect."""
        return HttpProvider(name, self, dependencies.transport, now=dependencies.now)  # type: ignore[arg-type]  # a dialect is one

    def build_url(self, path: str) -> str:
        """Return where requests for this path go."""
        return self.base_url.rstrip("/") + path

    def find_errors(self) -> list[tuple[str, str]]:
        """Return what is wrong or unsafe in these settings, as (field, remedy)."""
        named = [("base_url", remedy) for _, remedy in find_provider_url_errors(self.base_url)]
        return [*named, *find_sender_errors(self)]
