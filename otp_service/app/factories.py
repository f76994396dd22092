"""What an application is made of, each part out of the settings."""

import hashlib
import os
import random
import secrets
import time
from typing import TYPE_CHECKING

from otp_service import __version__
from otp_service.core import events
from otp_service.core.keys import RINGS
from otp_service.core.limits import DAY
from otp_service.core.policy import SECOND
from otp_service.service import Random
from otp_service.settings import Settings, report
from otp_service.sms.callbacks import Addresses
from otp_service.sms.router import Outside, Remembered, Router, Sender, Tools
from otp_service.store.client import Link
from otp_service.store.connect import connect
from otp_service.store.key_names import Names
from otp_service.store.record_cipher import Vault
from otp_service.store.redis_store import RedisStore
from otp_service.store.rotating_store import RotatingStore


if TYPE_CHECKING:
    from otp_service.telemetry.tracing import Tracing

RANDOM = Random(secrets.randbelow, os.urandom)
CHANCE = random.SystemRandom().random


def now() -> int:
    """Return milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def versions(settings: Settings) -> dict[str, str]:
    """Return what events say of the configuration and the keys in force."""
    rings = {name: getattr(settings.keys, name).current.id for name in RINGS}
    in_force = hashlib.sha256(report(settings).encode()).hexdigest()[:12]
    return {"config": in_force, **rings}


def link_of(settings: Settings) -> Link:
    """Return the way to Redis."""
    redis = settings.redis
    client = connect(
        url=redis.url,
        sentinel=redis.sentinel,
        master=redis.master,
        cluster=redis.cluster,
        username=redis.username,
        password=redis.password.reveal() if redis.password else None,
        tls=redis.tls,
        tls_ca=redis.tls_ca,
        timeout=redis.timeout_milliseconds,
        pool=redis.pool,
    )
    return Link(client, replicas=redis.replicas, wait=redis.wait_milliseconds)


def store_of(settings: Settings, link: Link, told: dict[str, str]) -> RedisStore:
    """Return the store on this link."""
    names, *earlier = map(Names, settings.keys.limit)
    kind = RotatingStore if earlier else RedisStore
    return kind(
        link,
        names,
        Vault(settings.keys, os.urandom),
        earlier=earlier,
        epoch_event=events.EpochBegan(id="epoch", versions=told),
        retention=settings.events.retention_days * DAY * SECOND,
        maximum=settings.events.maximum,
        archives=settings.audit.archive is not None,
    )


def senders_of(settings: Settings, tools: Tools) -> dict[str, Sender]:
    """Return the providers, ready to be used, by their names."""
    return {name: one.as_sender(name, tools) for name, one in settings.providers.items()}


def router_of(
    settings: Settings,
    found: dict[str, Sender],
    remembered: Remembered,
    addresses: Addresses | None = None,
) -> Router:
    """Return the chain of providers; receipts are asked for where they can come in."""
    asks = addresses is not None and addresses.public_url
    return Router(
        [*found.values()],
        settings.routes(),
        remembered,
        outside=Outside(
            clock=time.monotonic,
            now=now,
            chance=CHANCE,
            pseudonym=lambda number: settings.keys.limit.current.mac("route", number.encode())[
                :8
            ].hex(),
            address=addresses.of if addresses and asks else lambda *_: None,
        ),
        deadline=settings.routing.deadline_seconds,
        most=settings.routing.max_submissions,
    )


def tracing_of(settings: Settings) -> "Tracing | None":
    """Return what makes spans, where the settings say that they go somewhere."""
    wanted = settings.telemetry
    if wanted.traces is None:
        return None
    from otp_service.telemetry import tracing  # noqa: PLC0415  # an extra, and 30 ms

    headers = {name: value.reveal() for name, value in wanted.secret_headers.items()}
    exporter = tracing.collector(wanted.traces, headers)
    return tracing.Tracing(exporter, __version__, wanted.sample_percent)
