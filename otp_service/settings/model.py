"""Every setting, its type and its default: one struct for each table of the TOML file.

`template.toml` explains each setting; a note here is for what it leaves out. Unknown fields are refused. `rules.find_errors` refuses what a type alone cannot (a lifetime of an
hour, an unencrypted Redis), so that `check` lists every error in one run.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from otp_service.audit.sinks import AnchorSinkSettings, LineSinkSettings
from otp_service.core.argon2_profile import DEFAULT_PROFILE, Argon2Profile
from otp_service.core.fixed_codes import FixedCodes
from otp_service.core.keys import ServiceKeys
from otp_service.core.limits import DEFAULT_LIMITS, Limit, LimitTable, Window
from otp_service.core.message_templates import MESSAGE_TEMPLATES
from otp_service.core.messages import MAX_BRAND_CHARS
from otp_service.core.messages import MessageRenderer as TenantMessages
from otp_service.core.policy import Policy
from otp_service.core.relaxed_limits import relax_limits
from otp_service.core.secret import Secret
from otp_service.core.tenant import TENANT_NAME_PATTERN, ApiKey, Scope, Tenant
from otp_service.core.tenant_share import DEFAULT_SHARE_PERCENT, WHOLE_PERCENT, apply_share
from otp_service.core.timestamps import to_epoch_ms
from otp_service.core.value_rule import build_rule
from otp_service.core.verification_sid import ACCOUNT_SID_PATTERN, SERVICE_SID_PATTERN
from otp_service.core.verify_service import (
    DEFAULT_VERIFY_LIFETIME_SECONDS,
    RateLimitField,
    VerifyAccount,
    VerifyService,
)
from otp_service.hooks import Hook
from otp_service.schemas import Mode
from otp_service.sms.providers import Provider
from otp_service.sms.routes import Routes


KEY_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,32}")

Port = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=1, le=100_000)]
Seconds = Annotated[int, Meta(ge=1, le=60)]
Milliseconds = Annotated[int, Meta(ge=1, le=60_000)]


def _match(pattern: str, rule: str) -> Meta:
    """Return the constraint of a text, with the rule in words."""
    return Meta(pattern=rf"^{pattern}\Z", extra=build_rule(rule))


Name = Annotated[str, _match(TENANT_NAME_PATTERN, "must be lower-case, digits and hyphens")]
Purpose = Annotated[str, _match(r"[a-z0-9][a-z0-9._-]{0,63}", "must be a word like 'login'")]
HostPort = Annotated[str, _match(r"[^\s/@]+:\d{1,5}", "must be host and port: '10.0.0.5:6379'")]
Sha256 = Annotated[str, _match(r"[0-9a-f]{64}", "must be what 'otp-service key new' prints")]
HOST_NAME_REMEDY = "must be a name like 'otp.internal', or an address, without scheme and port"
HostName = Annotated[
    str, _match(r"([A-Za-z0-9._-]+|[0-9A-Fa-f:]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)", HOST_NAME_REMEDY)
]
PUBLIC_URL_REMEDY = "must be like 'https://otp.example.com', without a query"
PublicUrl = Annotated[str, _match(r"https?://[^\s/@?#]+(/[^\s?#]*)?", PUBLIC_URL_REMEDY)]
COLLECTOR_URL_REMEDY = (
    "must be like 'http://127.0.0.1:4318/v1/traces', without a query; keys are for "
    "telemetry.secret_headers"
)
CollectorUrl = Annotated[str, _match(r"https?://[^\s/@?#]+/[^\s?#]*", COLLECTOR_URL_REMEDY)]
REDIS_URL_REMEDY = (
    "must be like 'rediss://host:6379/0' or 'unix:///run/redis.sock'; user and "
    "password are settings of their own, redis.username and redis.password"
)
RedisUrl = Annotated[
    str, _match(r"(rediss?://[^\s/@?#]+(/\d{1,2})?|unix:///[^\s@?#]+)", REDIS_URL_REMEDY)
]
AccountSid = Annotated[
    str, _match(ACCOUNT_SID_PATTERN, "must be AC and 32 lower-case hexadecimal digits")
]
ServiceSid = Annotated[
    str, _match(SERVICE_SID_PATTERN, "must be VA and 32 lower-case hexadecimal digits")
]
INSTANT_REMEDY = "must be a time with its zone, like 2027-01-31T00:00:00Z"
Instant = Annotated[datetime, Meta(tz=True, extra=build_rule(INSTANT_REMEDY))]


class ServiceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[service]: listeners, worker processes and shutdown."""

    host: str = "127.0.0.1"
    port: Port = 8000
    admin_host: str = "127.0.0.1"
    admin_port: Port = 8001
    admin_hosts: tuple[HostName, ...] = ()
    workers: Count = 1
    max_connections: Annotated[int, Meta(ge=1, le=60_000)] = 4096
    """Of each worker. More wait until one is closed, and are 503 if that takes seconds."""
    idle_seconds: Annotated[int, Meta(ge=5, le=3600)] = 65
    """For a connection without a complete header, new or between requests. It is longer than the
    60 s for which nginx and AWS reuse a connection, which they must not find closed."""
    drain_seconds: Seconds = 10
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    public_url: PublicUrl | None = None
    admin_tls: bool = False
    """Whether a proxy terminates TLS in front of the admin listener."""


class RedisSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[redis]: one server (`url`), or `sentinel` and `master`, or `cluster`."""

    url: RedisUrl | None = None
    sentinel: tuple[HostPort, ...] = ()
    master: str | None = None
    cluster: tuple[HostPort, ...] = ()
    username: str | None = None
    password: Secret | None = None
    tls: bool = False
    tls_ca: str | None = None
    """A PEM file with the CA of Redis's certificate; the default is the system's CAs."""
    accept_plain_text: bool = False
    """Allows a Redis off loopback without TLS, on a network that is private by other means."""
    replicas: Annotated[int, Meta(ge=0, le=5)] = 0
    """Replicas that must acknowledge (WAIT) before anything is compared or sent."""
    wait_milliseconds: Milliseconds = 100
    timeout_milliseconds: Milliseconds = 500

    @property
    def is_encrypted(self) -> bool:
        return self.tls or (self.url or "").startswith("rediss:")

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host of the initial connections; empty for a Unix socket."""
        if self.url is not None and not self.url.startswith("unix:"):
            return (self.url.split("://")[1].split("/")[0],)
        return self.sentinel + self.cluster


class HashSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[hash]: argon2id parameters, and its concurrency in each worker process."""

    memory_kib: Annotated[int, Meta(ge=8)] = DEFAULT_PROFILE.memory_kib
    passes: Count = DEFAULT_PROFILE.passes
    lanes: Count = DEFAULT_PROFILE.lanes
    accept_below_owasp: bool = False
    workers: Count = 1
    max_wait_milliseconds: Milliseconds = 1000
    """The longest wait for a thread that a call is admitted to, by the measured time of a hash."""
    max_prepared_codes: Annotated[int, Meta(ge=0, le=10_000)] = 512
    """Codes that are hashed in idle time, in each process; `core.prepared_codes` bounds them too."""

    @property
    def profile(self) -> Argon2Profile:
        return Argon2Profile(self.memory_kib, self.passes, self.lanes)


class MessageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[messages]: the last lines from which phones fill codes in, and the languages."""

    host: str | None = None
    """The site on which browsers fill in the code: '@host #code' (WICG sms-one-time-codes)."""
    android_hash: str | None = None
    languages: frozenset[str] = frozenset(MESSAGE_TEMPLATES)


class EventSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[events]: how long Redis keeps events, and how many."""

    retention_days: Annotated[int, Meta(ge=1, le=366)] = 7
    maximum: Annotated[int, Meta(ge=1000, le=10_000_000)] = 5_000
    """Entries in each partition's stream; with the refusals about 300 MB in total."""


class TelemetrySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[telemetry]: the collector of traces; without one there are no traces."""

    traces: CollectorUrl | None = None
    sample_percent: Annotated[int, Meta(ge=1, le=100)] = 100
    """Applies to every request; the sampling flag of the caller is ignored."""
    secret_headers: dict[str, Secret] = {}


NO_ARCHIVE = "none"
"""The value of `audit.archive` that accepts that events are lost with Redis."""


class AuditSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[audit]: the archive of events, and which process seals it."""

    archive: str | None = None
    """A folder, or `NO_ARCHIVE`: then events exist only in Redis, for `events.retention_days`."""
    seal: Literal["serve", "alone"] = "serve"
    signing_key: str | None = None
    previous_signing_key: str | None = None
    public_keys: str | None = None
    """All public keys, oldest first, for /audit; the default is those of the signing keys."""
    seal_seconds: Annotated[int, Meta(ge=1, le=3600)] = 10
    segment_mib: Annotated[int, Meta(ge=1, le=1024)] = 64
    retention_days: Annotated[int, Meta(ge=30, le=3660)] = 365
    """After this, whole segments are deleted, and a seal records it."""
    anchor: AnchorSinkSettings | None = None
    """Stores the anchor of each seal where a writer of the archive cannot change it."""
    sinks: dict[Name, LineSinkSettings] = {}
    pseudonym_days: Annotated[int, Meta(ge=1, le=3660)] = 90
    calls_per_minute: Count = 60
    """Calls of one API key that read events, in each process."""

    @property
    def archive_folder(self) -> str | None:
        """The folder of the archive; None if there is no archive."""
        return None if self.archive == NO_ARCHIVE else self.archive


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
        )


class RoutingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[routing]: which providers are tried, in which order, and for how long."""

    providers: tuple[Name, ...] | dict[Name, int] = ()
    routes: dict[str, tuple[Name, ...] | dict[Name, int]] = {}
    deadline_seconds: Seconds = 8
    max_submissions: Annotated[int, Meta(ge=1, le=10)] = 3


class TestSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[test]: what only the test mode reads; `mode_rules` refuses it in live mode."""

    relaxed_limits: bool = False
    """Whether `core.limits.relax_limits` applies to fictitious numbers."""
    fixed_codes: FixedCodes = FixedCodes()


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
    messages: MessageSettings = MessageSettings()
    events: EventSettings = EventSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    audit: AuditSettings = AuditSettings()
    tenant_settings: dict[Name, TenantSettings] = msgspec.field(
        name="tenants", default_factory=dict
    )
    hooks: dict[Name, Hook] = {}
    providers: dict[Name, Provider] = {}
    routing: RoutingSettings = RoutingSettings()

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
    def default_share_percent(self) -> int:
        """The share of a tenant that sets none: everything, if no other tenant can send."""
        by_key = {name for name, table in self.tenant_settings.items() if table.can_send}
        senders = by_key | self.hook_tenants
        return DEFAULT_SHARE_PERCENT if len(senders) > 1 else WHOLE_PERCENT

    @property
    def hook_tenants(self) -> frozenset[str]:
        """The tenants for which a hook sends: they need no API key."""
        return frozenset(hook.tenant for hook in self.hooks.values())

    def can_deliver(self, tenant: str) -> bool:
        """Whether codes of other products may be sent for a tenant: by a key of it, or by a hook."""
        keys = self.tenant_settings[tenant].keys
        return tenant in self.hook_tenants or any(Scope.DELIVER in key.scopes for key in keys)

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
