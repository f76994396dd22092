"""The tables of one tenant: its keys, its brand and limits, and its Verify Services."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from otp_service.core.limits import Limit, LimitTable, Window
from otp_service.core.messages import MAX_BRAND_CHARS
from otp_service.core.pumping.scopes import BrakeMode
from otp_service.core.tenant import ApiKey, Scope, Tenant
from otp_service.core.timestamps import to_epoch_ms
from otp_service.core.verify_service import (
    DEFAULT_VERIFY_LIFETIME_SECONDS,
    RateLimitField,
    VerifyAccount,
    VerifyService,
)
from otp_service.settings.value_types import AccountSid, Instant, Name, Purpose, ServiceSid, Sha256


class ApiKeySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of [[tenants.NAME.keys]], as a SHA-256: the key itself is not stored."""

    id: Name
    sha256: Sha256
    scopes: frozenset[Scope]
    expires: Instant | None = None

    def to_api_key(self, tenant: str) -> ApiKey:
        expires_at = to_epoch_ms(self.expires) if self.expires else None
        return ApiKey(self.id, tenant, bytes.fromhex(self.sha256), self.scopes, expires_at)


class VerifyServiceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[tenants.NAME.twilio_verify.services.VA…]: a Verify Service of Twilio's API."""

    friendly_name: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    """The default is the brand."""
    lifetime: int = DEFAULT_VERIFY_LIFETIME_SECONDS
    purpose: Purpose = "login"
    rate_limits: dict[str, RateLimitField] = {}


class TwilioVerifySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[tenants.NAME.twilio_verify]: what applications of this tenant name at Twilio Verify's API."""

    account_sid: AccountSid
    services: dict[ServiceSid, VerifyServiceSettings] = {}

    def to_account(self, brand: str) -> VerifyAccount:
        services = {
            sid: VerifyService(
                sid,
                table.friendly_name or brand,
                table.lifetime,
                table.purpose,
                table.rate_limits,
            )
            for sid, table in self.services.items()
        }
        return VerifyAccount(self.account_sid, services)


SCOPES_WITHOUT_SENDS = frozenset({Scope.AUDIT, Scope.AUDIT_ALL, Scope.OPERATOR})


class TenantSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[tenants.NAME]: a calling application, its brand, and where it may send."""

    brand: str | None = None
    """Required, as countries are, if one of its keys can send messages."""
    countries: frozenset[str] = frozenset()
    sender: str | None = None
    default_locale: str = "en"
    purposes: frozenset[Purpose] | None = None
    requires: frozenset[Literal["client_ip", "account"]] = frozenset()
    """Members without which an issue, a delivery or a verify is refused."""
    delivery_letters: bool = False
    risk_check: bool = True
    """Whether the service in [risk] is asked before its sends."""
    pumping: BrakeMode = BrakeMode.RECORD
    """What the brake on SMS pumping does with its sends."""
    trust_known: bool = False
    """Whether its callers may say in an issue that a number is known."""
    share_percent: Annotated[int, Meta(ge=1, le=100)] | None = None
    """The most of a prefix, a country and the whole service that this tenant may use up."""
    limits: dict[Limit, tuple[Window, ...]] = {}
    """Limits of this tenant alone, each at most as loose as the general one."""
    keys: tuple[ApiKeySettings, ...] = ()
    twilio_verify: TwilioVerifySettings | None = None

    @property
    def can_send(self) -> bool:
        """Whether one of its keys can send messages."""
        return any(key.scopes - SCOPES_WITHOUT_SENDS for key in self.keys)

    @property
    def needs_brand(self) -> bool:
        """Whether it sends messages, or may when it has its first key."""
        return self.can_send or not self.keys

    def get_brand(self, name: str) -> str:
        """Return the brand; the name of a tenant without one, from which nothing is sent."""
        return name[:MAX_BRAND_CHARS] if self.brand is None else self.brand

    def to_tenant(self, name: str, limits: LimitTable) -> Tenant:
        return Tenant(
            name=name,
            brand=self.get_brand(name),
            countries=self.countries,
            sender=self.sender,
            default_locale=self.default_locale,
            purposes=self.purposes,
            requires=frozenset(self.requires),
            delivery_letters=self.delivery_letters,
            limits=limits,
            has_risk_check=self.risk_check,
            trusts_known=self.trust_known,
        )
