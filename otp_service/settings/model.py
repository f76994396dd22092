"""Every setting, its type and its default: one struct for each table of the TOML file.

A field that is not here is refused. What a type alone cannot refuse (a lifetime of an hour, an
unencrypted Redis) `check.faults` does, so that `check` can say all of it at once.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from otp_service.audit.sinks import AnchorSinkSettings, LineSinkSettings
from otp_service.core.argon2_profile import DEFAULT_PROFILE, Argon2Profile
from otp_service.core.keys import ServiceKeys
from otp_service.core.limits import DEFAULT_LIMITS, Limit, LimitTable, Window
from otp_service.core.message_templates import MESSAGE_TEMPLATES
from otp_service.core.messages import MessageRenderer as TenantMessages
from otp_service.core.policy import Policy
from otp_service.core.secret import Secret
from otp_service.core.tenant import TENANT_NAME_PATTERN, ApiKey, Scope, Tenant
from otp_service.core.timestamps import to_epoch_ms
from otp_service.sms.providers import Provider
from otp_service.sms.routes import Routes


Port = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=1, le=100_000)]
Seconds = Annotated[int, Meta(ge=1, le=60)]
Milliseconds = Annotated[int, Meta(ge=1, le=60_000)]
# A description is the remedy that is told when the rest of its Meta does not hold.
Name = Annotated[
    str,
    Meta(
        pattern=rf"^{TENANT_NAME_PATTERN}\Z", description="must be lower-case, digits and hyphens"
    ),
]
Purpose = Annotated[
    str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z", description="must be a word like 'login'")
]
HostPort = Annotated[
    str, Meta(pattern=r"^[^\s/@]+:\d{1,5}\Z", description="must be host and port: '10.0.0.5:6379'")
]
PublicUrl = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?\Z",
        description="must be like 'https://otp.example.com', without a query",
    ),
]
CollectorUrl = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^\s/@?#]+/[^\s?#]*\Z",
        description="must be like 'http://127.0.0.1:4318/v1/traces', without a query; keys are for "
        "telemetry.secret_headers",
    ),
]
RedisUrl = Annotated[
    str,
    Meta(
        pattern=r"^(rediss?://[^\s/@?#]+(/\d{1,2})?|unix:///[^\s@?#]+)\Z",
        description="must be like 'rediss://host:6379/0' or 'unix:///run/redis.sock'; user and "
        "password are settings of their own, redis.username and redis.password",
    ),
]
Sha256 = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{64}\Z", description="must be what 'otp-service key new' prints")
]
Instant = Annotated[
    datetime, Meta(tz=True, description="must be a time with its zone, like 2027-01-31T00:00:00Z")
]


class ServiceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[service]: where it listens, and how it stops."""

    host: str = "127.0.0.1"
    port: Port = 8000
    admin_host: str = "127.0.0.1"
    admin_port: Port = 8001
    workers: Count = 1
    """Processes; `load` sets it to the number of cores where nobody says otherwise."""
    drain_seconds: Seconds = 10
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    public_url: PublicUrl | None = None
    """How providers reach us with their receipts, as they know it; none are asked for without."""


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
    """A PEM file with the authority that signed Redis's certificate; the system's without it."""
    accept_plain_text: bool = False
    """Lets Redis be reached without TLS off loopback: somebody else keeps that wire private."""
    replicas: Annotated[int, Meta(ge=0, le=5)] = 0
    """How many have to acknowledge (WAIT) before anything is compared or sent."""
    wait_milliseconds: Milliseconds = 100
    timeout_milliseconds: Milliseconds = 500
    pool: Count = 50

    @property
    def is_encrypted(self) -> bool:
        """Whether the connections are TLS."""
        return self.tls or (self.url or "").startswith("rediss:")

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host that is connected to at first; none where it is a Unix socket."""
        if self.url is not None and not self.url.startswith("unix:"):
            return (self.url.split("://")[1].split("/")[0],)
        return self.sentinel + self.cluster


class HashSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[hash]: argon2id, and how much of it runs at once in each worker process."""

    memory_kib: Annotated[int, Meta(ge=8)] = DEFAULT_PROFILE.memory_kib
    passes: Count = DEFAULT_PROFILE.passes
    lanes: Count = DEFAULT_PROFILE.lanes
    accept_below_owasp: bool = False
    workers: Count = 1
    """Threads in each process; `load` sets it to the number of cores."""
    queue: Count = 64

    @property
    def profile(self) -> Argon2Profile:
        """What argon2 is run with."""
        return Argon2Profile(self.memory_kib, self.passes, self.lanes)


class MessageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[messages]: the last lines by which phones fill codes in, and the languages."""

    host: str | None = None
    """The site that browsers fill the code in on: '@host #code' (WICG sms-one-time-codes)."""
    android_hash: str | None = None
    """The 11 characters that identify the Android app (SMS Retriever)."""
    languages: frozenset[str] = frozenset(MESSAGE_TEMPLATES)


class EventSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[events]: how long and how many of them Redis keeps."""

    retention_days: Annotated[int, Meta(ge=1, le=366)] = 7
    maximum: Annotated[int, Meta(ge=1000, le=10_000_000)] = 5_000
    """Entries in each partition's stream; with the refusals they take some 300 MB in all."""


class TelemetrySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[telemetry]: where traces go; none are made without an address."""

    traces: CollectorUrl | None = None
    """Where a collector of OpenTelemetry takes them in: OTLP over HTTP."""
    sample_percent: Annotated[int, Meta(ge=1, le=100)] = 100
    """How many of a hundred traces are kept, whatever callers say of theirs."""
    secret_headers: dict[str, Secret] = {}


class AuditSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[audit]: the archive of the events, and who seals it."""

    archive: str | None = None
    """A folder. Without one, events are gone when `events` says so."""
    seal: Literal["serve", "alone"] = "serve"
    """Whether `serve` seals, or `otp-service audit seal` does, elsewhere or as somebody else."""
    signing_key: str | None = None
    """A PEM file, which only who seals has to have."""
    previous_signing_key: str | None = None
    """The one before it, until that has handed over."""
    public_keys: str | None = None
    """All public keys, oldest first, for the page; without it those beside the signing keys."""
    seal_seconds: Annotated[int, Meta(ge=1, le=3600)] = 10
    segment_mib: Annotated[int, Meta(ge=1, le=1024)] = 64
    retention_days: Annotated[int, Meta(ge=30, le=3660)] = 365
    """After which whole segments are deleted, which a seal states."""
    anchor: AnchorSinkSettings | None = None
    """Where each seal's anchor is kept, out of reach of whoever can write the archive."""
    sinks: dict[Name, LineSinkSettings] = {}
    """Where every line goes besides; while one does not have it, Redis keeps it."""
    pseudonym_days: Annotated[int, Meta(ge=1, le=3660)] = 90
    """How long a pseudonym key is to be in force."""


class ApiKeySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of [[tenants.NAME.keys]], by its SHA-256: the key itself is nowhere."""

    id: Name
    sha256: Sha256
    scopes: frozenset[Scope]
    expires: Instant | None = None

    def to_api_key(self, tenant: str) -> ApiKey:
        """Return the key as the API looks it up."""
        expires_at = to_epoch_ms(self.expires) if self.expires else None
        return ApiKey(self.id, tenant, bytes.fromhex(self.sha256), self.scopes, expires_at)


class TenantSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[tenants.NAME]: how a calling application names itself, and what it may send where."""

    brand: str
    countries: frozenset[str] = frozenset()
    sender: str | None = None
    default_locale: str = "en"
    purposes: frozenset[Purpose] | None = None
    limits: dict[Limit, tuple[Window, ...]] = {}
    """Its share of the general limits, each at most as loose."""
    keys: tuple[ApiKeySettings, ...] = ()

    def to_tenant(self, name: str, default_limits: LimitTable) -> Tenant:
        """Return the tenant, its limits being the general ones where it has no share."""
        return Tenant(
            name=name,
            brand=self.brand,
            countries=self.countries,
            sender=self.sender,
            default_locale=self.default_locale,
            purposes=self.purposes,
            limits={**default_limits, **self.limits},
        )


class RoutingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[routing]: which providers are tried, in which order, and for how long."""

    providers: tuple[Name, ...] | dict[Name, int] = ()
    """In the order in which they are tried, or by chance in these shares."""
    routes: dict[str, tuple[Name, ...] | dict[Name, int]] = {}
    """The same for some destinations, by country (GB) or by the beginning of the number (+4474)."""
    deadline_seconds: Seconds = 8
    max_submissions: Annotated[int, Meta(ge=1, le=10)] = 3


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of it. `load` makes one; it is passed in and never changes while a process lives."""

    mode: Literal["live", "test"] = "live"
    """In `test`, only the fictitious numbers of regulators are accepted, and no real provider."""
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
    providers: dict[Name, Provider] = {}
    routing: RoutingSettings = RoutingSettings()

    @property
    def effective_limits(self) -> LimitTable:
        """The limits in force for everybody: what is configured, the defaults elsewhere."""
        cooldown = (Window(1, self.policy.cooldown),)
        return {**DEFAULT_LIMITS, **self.limits, Limit.COOLDOWN: cooldown}

    def build_tenants(self) -> Mapping[str, Tenant]:
        """Return the tenants by their names."""
        rates = self.effective_limits
        return {name: table.to_tenant(name, rates) for name, table in self.tenant_settings.items()}

    def create_message_renderer(self, tenant: str) -> TenantMessages:
        """Return how a tenant's messages read; ValueError names the value that cannot be used."""
        table = self.tenant_settings[tenant]
        return TenantMessages(
            brand=table.brand,
            host=self.messages.host,
            android_hash=self.messages.android_hash,
            default_locale=table.default_locale,
            languages=self.messages.languages,
        )

    def build_api_keys(self) -> tuple[ApiKey, ...]:
        """Return the keys of all tenants."""
        tables = self.tenant_settings.items()
        return tuple(key.to_api_key(name) for name, table in tables for key in table.keys)

    def build_routes(self) -> Routes:
        """Return the routes; the default one may be left out where there is one provider."""
        return Routes(self.routing.providers or tuple(self.providers), self.routing.routes)
