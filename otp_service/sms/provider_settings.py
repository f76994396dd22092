"""The settings that all HTTP providers share, and those that all named vendors share."""

import base64
from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec

from otp_service.core.pumping.prices import Money
from otp_service.core.secret import Secret
from otp_service.core.url_check import FieldErrors
from otp_service.sms.http_provider import HttpProvider
from otp_service.sms.provider_callbacks import Callback, CallbackPart, UnreadableCallback
from otp_service.sms.router import ProviderDependencies
from otp_service.sms.sender_ids import SenderSelection
from otp_service.sms.validation import find_provider_url_errors


TimeoutSeconds = Annotated[float, msgspec.Meta(gt=0, le=30)]


class BasicAuth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user and a password for the Authorization header."""

    username: str
    password: Secret

    @property
    def header(self) -> str:
        both = f"{self.username}:{self.password.reveal()}"
        return f"Basic {base64.b64encode(both.encode()).decode()}"


class HttpSettings(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    dict=True,  # a place for cached_property
    tag_field="type",
    forbid_unknown_fields=True,
):
    """The settings of every HTTP provider."""

    prices: dict[str, Money] = msgspec.field(default_factory=dict)
    """What one message costs by contract, by country (libphonenumber region)."""
    connect_timeout: TimeoutSeconds = 2.0
    read_timeout: TimeoutSeconds = 5.0
    tls_ca: str | None = None
    """PEM file of the authority of the vendor's certificate, instead of the system's."""
    inbound_token: Secret | None = None
    """The secret in the address of /v1/inbound, for a vendor that signs nothing."""
    previous_inbound_token: Secret | None = None
    """The secret before, until the vendor calls the new address."""

    @property
    def acknowledgement(self) -> tuple[int, bytes]:
        """204 without a body, where the vendor requires nothing else."""
        return 204, b""

    @property
    def inbound_acknowledgement(self) -> tuple[int, bytes]:
        """The same answer at /v1/inbound, where the vendor requires nothing else."""
        return self.acknowledgement

    @property
    def inbound_tokens(self) -> tuple[Secret, ...]:
        """The secrets of the address /v1/inbound: the one in force, then the previous one."""
        return tuple(each for each in (self.inbound_token, self.previous_inbound_token) if each)

    def requires_signature(self, callback: Callback) -> bool:  # noqa: ARG002  # see CallbackDialect
        """Return False: this vendor signs nothing, or is not set up to sign."""
        return False

    def find_certificate_url(self, callback: Callback) -> str | None:  # noqa: ARG002  # see CallbackDialect
        """Return None: most vendors sign with a key that is in the settings."""
        return None

    def parse_callback(self, callback: Callback) -> Sequence[CallbackPart]:  # noqa: ARG002  # see CallbackDialect
        """Raise UnreadableCallback: this vendor sends nothing."""
        raise UnreadableCallback


class VendorSettings(HttpSettings, SenderSelection, frozen=True, kw_only=True):
    """The settings of every named vendor; each has its own default of `base_url`."""

    requires_sender: ClassVar[bool] = False
    """Whether the vendor refuses a message without a sender or a pool."""

    base_url: str
    sender: str = ""
    """A number or a name of ours; for a tenant without a sender, and where names are not allowed."""
    senders: dict[str, str] = msgspec.field(default_factory=dict)
    """By country (libphonenumber region); takes precedence over all others."""

    def build_provider(self, name: str, dependencies: ProviderDependencies) -> HttpProvider:
        return HttpProvider(name, self, dependencies.transport, now=dependencies.now)  # type: ignore[arg-type]  # each subclass is a Dialect

    def build_url(self, path: str) -> str:
        return self.base_url.rstrip("/") + path

    def find_errors(self) -> list[tuple[str, str]]:
        named = [("base_url", remedy) for _, remedy in find_provider_url_errors(self.base_url)]
        return [*named, *self.find_sender_errors()]

    def find_sender_errors(self) -> FieldErrors:
        """Yield the errors of senders, and of their absence."""
        yield from SenderSelection.find_sender_errors(self)
        if self.requires_sender and not (self.sender or self.senders or self.has_sender_pool):
            yield "sender", "name a sender of yours, or a pool where it has one: it is required"
