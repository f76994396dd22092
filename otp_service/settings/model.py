"""The whole configuration: one struct for each table of the TOML file, and what follows from them.

The tables are in `service_tables` and `tenant_tables`, with their defaults. `template.toml` explains each
setting; a note at a setting is for what it leaves out. Unknown fields are refused. `rules.find_errors`
refuses what a type alone cannot (a lifetime of an hour, an unencrypted Redis), so that `check` lists every
error in one run.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from otp_service.core.fixed_codes import FixedCodes
from otp_service.core.keys import ServiceKeys
from otp_service.core.keywords import DEFAULT_KEYWORDS, KeywordTable, KeywordWords
from otp_service.core.limits import DEFAULT_LIMITS, Limit, LimitTable, Window
from otp_service.core.messages import MessageRenderer as TenantMessages
from otp_service.core.opt_out_scope import OptOutScopes, build_opt_out_scopes
from otp_service.core.policy import Policy
from otp_service.core.pumping.prices import PriceTable
from otp_service.core.pumping.send_debts import BrakeSettings
from otp_service.core.relaxed_limits import relax_limits
from otp_service.core.tenant import ApiKey, Scope, Tenant
from otp_service.core.tenant_share import DEFAULT_SHARE_PERCENT, WHOLE_PERCENT, apply_share
from otp_service.core.value_rule import build_rule
from otp_service.core.verify_service import VerifyAccount
from otp_service.hooks import Hook
from otp_service.risk import RiskSettings
from otp_service.schemas import Mode
from otp_service.settings.pumping_table import PumpingSettings
from otp_service.settings.service_tables import (
    AuditSettings,
    EventSettings,
    HashSettings,
    InboundSettings,
    MessageSettings,
    RedisSettings,
    RoutingSettings,
    ServiceSettings,
    TelemetrySettings,
    TestSettings,
)
from otp_service.settings.tenant_tables import TenantSettings
from otp_service.settings.value_types import Name
from otp_service.sms.providers import Provider
from otp_service.sms.routes import Routes
from otp_service.sms.sender_ids import SenderSelection


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole configuration, which never changes while a process runs."""

    mode: Annotated[Mode, Meta(extra=build_rule("must be one of live, test"))] = "live"
    """The last one is that of `dev`: `mode_rules` refuses it in a configuration."""
    test: TestSettings = TestSettings()
    keys: ServiceKeys
    service: ServiceSettings = ServiceSettings()
    redis: RedisSettings = RedisSettings()
    policy: Policy = Policy()
    hash: HashSettings = HashSettings()
    limits: dict[Limit, tuple[Window, ...]] = {}
    pumping: PumpingSettings = PumpingSettings()
    messages: MessageSettings = MessageSettings()
    inbound: InboundSettings = InboundSettings()
    events: EventSettings = EventSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    audit: AuditSettings = AuditSettings()
    tenant_settings: dict[Name, TenantSettings] = msgspec.field(
        name="tenants", default_factory=dict
    )
    hooks: dict[Name, Hook] = {}
    providers: dict[Name, Provider] = {}
    routing: RoutingSettings = RoutingSettings()
    risk: RiskSettings | None = None
    """Without it no risk service is asked."""

    @property
    def accepts_fictitious(self) -> bool:
        """Whether codes may be sent to fictitious numbers, which nothing real reaches."""
        return self.mode != "live"

    @property
    def only_fictitious(self) -> bool:
        return self.mode == "test"

    @property
    def has_relaxed_limits(self) -> bool:
        """Whether calls for fictitious numbers have relaxed limits: never in live mode."""
        return self.mode != "live" and self.test.relaxed_limits

    @property
    def effective_fixed_codes(self) -> FixedCodes:
        """The fixed codes of fictitious numbers: never one in live mode."""
        return FixedCodes() if self.mode == "live" else self.test.fixed_codes

    @property
    def effective_limits(self) -> LimitTable:
        """The limits before a tenant's share: the configured ones, and defaults for the rest."""
        cooldown = (Window(1, self.policy.cooldown),)
        return {**DEFAULT_LIMITS, **self.limits, Limit.COOLDOWN: cooldown}

    @property
    def effective_keywords(self) -> Mapping[str, KeywordWords]:
        """The words of every language: the configured ones, after the defaults of the others."""
        configured = self.inbound.keywords
        others = DEFAULT_KEYWORDS.keys() - configured.keys()
        return {name: DEFAULT_KEYWORDS[name] for name in sorted(others)} | configured

    def build_keyword_table(self) -> KeywordTable:
        return KeywordTable(self.effective_keywords)

    def build_opt_out_scopes(self) -> OptOutScopes:
        """Return what decides which tenant an opt-out is for."""
        senders = {name: table.sender for name, table in self.tenant_settings.items()}
        shared = [
            sender
            for provider in self.providers.values()
            if isinstance(provider, SenderSelection)
            for sender in (provider.sender, *provider.senders.values())
        ]
        return build_opt_out_scopes(senders, shared, self.sending_tenants)

    @property
    def sending_tenants(self) -> frozenset[str]:
        """The tenants that can send messages: by a key of theirs, or by a hook."""
        by_key = {name for name, table in self.tenant_settings.items() if table.can_send}
        return self.hook_tenants | by_key

    @property
    def default_share_percent(self) -> int:
        """The share of a tenant that sets none: everything, if no other tenant can send."""
        return DEFAULT_SHARE_PERCENT if len(self.sending_tenants) > 1 else WHOLE_PERCENT

    @property
    def hook_tenants(self) -> frozenset[str]:
        """The tenants for which a hook sends: they need no API key."""
        return frozenset(hook.tenant for hook in self.hooks.values())

    def can_deliver(self, tenant: str) -> bool:
        """Whether codes of other products may be sent for a tenant: by a key of it, or by a hook."""
        keys = self.tenant_settings[tenant].keys
        return tenant in self.hook_tenants or any(Scope.DELIVER in key.scopes for key in keys)

    def can_issue(self, tenant: str) -> bool:
        """Whether a tenant issues codes that this service verifies, or may when it has its first key."""
        keys = self.tenant_settings[tenant].keys
        scopes = frozenset[Scope]().union(*(key.scopes for key in keys))
        return bool(scopes & {Scope.CHALLENGES, Scope.TWILIO_VERIFY}) or not self.can_deliver(
            tenant
        )

    def get_share_percent(self, tenant: str) -> int:
        return self.tenant_settings[tenant].share_percent or self.default_share_percent

    def build_tenants(self) -> Mapping[str, Tenant]:
        return {
            name: self._relax_tenant(table.to_tenant(name, self._compute_tenant_limits(name)))
            for name, table in self.tenant_settings.items()
        }

    def _relax_tenant(self, tenant: Tenant) -> Tenant:
        if not self.has_relaxed_limits:
            return tenant
        return replace(tenant, relaxed_limits=relax_limits(tenant.limits))

    def _compute_tenant_limits(self, tenant: str) -> LimitTable:
        """Return the limits of a tenant: its own ones, the general ones, and its share."""
        own = self.tenant_settings[tenant].limits
        limits, configured = {**self.effective_limits, **own}, {*self.limits, *own}
        return apply_share(limits, configured, self.get_share_percent(tenant))

    def create_message_renderer(self, tenant: str) -> TenantMessages:
        """Return the renderer of a tenant's messages. Raises ValueError with the invalid setting."""
        table = self.tenant_settings[tenant]
        return TenantMessages(
            brand=table.get_brand(tenant),
            host=self.messages.host,
            android_hash=self.messages.android_hash,
            default_locale=table.default_locale,
            languages=self.messages.languages,
        )

    def build_verify_accounts(self) -> Mapping[str, VerifyAccount]:
        """Return the accounts of Twilio's API, by tenant."""
        return {
            name: table.twilio_verify.to_account(table.get_brand(name))
            for name, table in self.tenant_settings.items()
            if table.twilio_verify
        }

    def build_price_table(self) -> PriceTable:
        """Return what one message costs, by country and provider."""
        prices = {name: provider.prices for name, provider in self.providers.items()}
        return self.pumping.build_price_table(prices)

    def build_brake_settings(self, tenant: str) -> BrakeSettings:
        """Return the mode of the brake on SMS pumping for a tenant, its budget and its floors."""
        return self.pumping.build_brake_settings(self.tenant_settings[tenant].pumping)

    def list_lifetimes(self, tenant: str) -> list[int]:
        """Return the lifetimes of the codes of a tenant, in seconds."""
        account = self.build_verify_accounts().get(tenant)
        services = account.services.values() if account else ()
        return [self.policy.lifetime, *(service.lifetime for service in services)]

    def build_api_keys(self) -> tuple[ApiKey, ...]:
        tables = self.tenant_settings.items()
        return tuple(key.to_api_key(name) for name, table in tables for key in table.keys)

    def build_routes(self) -> Routes:
        """Return the routes; the default route is optional if there is one provider."""
        return Routes(self.routing.providers or tuple(self.providers), self.routing.routes)
