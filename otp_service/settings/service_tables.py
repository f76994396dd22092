"""The tables of the service as a whole: its listeners, Redis, argon2, messages, events and archive."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from otp_service.audit.sinks import AnchorSinkSettings, LineSinkSettings
from otp_service.core.argon2_profile import DEFAULT_PROFILE, Argon2Profile
from otp_service.core.fixed_codes import FixedCodes
from otp_service.core.keywords import KeywordWords
from otp_service.core.message_templates import MESSAGE_TEMPLATES
from otp_service.core.secret import Secret
from otp_service.settings.value_types import (
    CollectorUrl,
    Count,
    HostName,
    HostPort,
    Language,
    Milliseconds,
    Name,
    Port,
    PublicUrl,
    RedisUrl,
    Seconds,
)


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


class InboundSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[inbound]: messages from phones."""

    keywords: dict[Language, KeywordWords] = {}
    """In place of `core.keywords.DEFAULT_KEYWORDS` of the same language."""


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


class RoutingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[routing]: which providers are tried, in which order, and for how long."""

    providers: tuple[Name, ...] | dict[Name, int] = ()
    routes: dict[str, tuple[Name, ...] | dict[Name, int]] = {}
    deadline_seconds: Seconds = 8
    max_submissions: Annotated[int, Meta(ge=1, le=10)] = 3


class TestSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[test]: what only the test mode reads; `mode_rules` refuses it in live mode."""

    relaxed_limits: bool = False
    """Whether `core.relaxed_limits.relax_limits` applies to fictitious numbers."""
    fixed_codes: FixedCodes = FixedCodes()
