"""Assembly: the only file that knows everybody.

`Application` is one process's worth of the service: what it is made of, the public and the admin
application in front of it, and what runs beside them.
"""

import asyncio
import hashlib
import os
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from otp_service import __version__, api, telemetry
from otp_service.api.callbacks import NOBODY
from otp_service.api.context import Answered, ApiContext
from otp_service.api.inbox import inbox_routes
from otp_service.api.inflight import InFlight
from otp_service.archiving import READY_BELOW, Watch
from otp_service.audit.folder import Folder
from otp_service.audit.keyfiles import KeyFileUnusable, read_key
from otp_service.audit.reading import Reader
from otp_service.audit.sealer import Outside as SealersOutside
from otp_service.audit.sealer import Sealer
from otp_service.audit.sealing import Signing
from otp_service.audit.sinks import sink_of
from otp_service.core import events
from otp_service.core.challenge import PARTITIONS
from otp_service.core.delivery import Receipt
from otp_service.core.errors import StoreUnavailable
from otp_service.core.gate import Gate
from otp_service.core.keys import RINGS
from otp_service.core.limits import DAY
from otp_service.core.policy import SECOND
from otp_service.core.ports import Commit
from otp_service.hashing import ArgonPool
from otp_service.service import Caller, OtpService, Parts, Random
from otp_service.settings import Settings, report
from otp_service.settings.model import Audit
from otp_service.sharing import Sharing
from otp_service.sms.callbacks import Addresses
from otp_service.sms.certificates import Certificates
from otp_service.sms.http import HttpSettings, new_transport
from otp_service.sms.overview import overview
from otp_service.sms.providers.inbox import InboxProvider
from otp_service.sms.router import Outside, Remembered, Router, Sender, Tools
from otp_service.store import health
from otp_service.store.connect import connect
from otp_service.store.keys import Names
from otp_service.store.link import Link
from otp_service.store.records import Vault
from otp_service.store.redis import RedisStore
from otp_service.store.rotating import RotatingStore
from otp_service.store.sealing import RedisSealing
from otp_service.store.streams import RedisStreams


RANDOM = Random(secrets.randbelow, os.urandom)
CHANCE = random.SystemRandom().random

HOUSEKEEPING = 60.0
"""Seconds between two rounds: folded refusals are flushed, and calls without a key are told."""

EXCHANGE = 1.0
"""Seconds between two exchanges of what is known of providers."""

SENDS = 256
"""Messages in flight in one process; more would be waiting, not sending."""

MARGIN = 5 * SECOND
"""What an issue may take beside its providers."""


class Application:
    """Everything of one process; an async context manager that starts and ends it.

    The one that `speaks_for_workers` only looks: it serves the admin listener beside them.
    """

    def __init__(
        self, settings: Settings, *, is_dev: bool = False, speaks_for_workers: bool = False
    ) -> None:
        self.settings = settings
        self.is_dev = is_dev
        self.speaks_for_workers = speaks_for_workers
        self.versions = versions(settings)
        self.metrics = telemetry.Metrics(
            __version__, tenants=settings.tenants(), providers=settings.providers
        )
        self.access = telemetry.AccessCounter(self.metrics)
        self.requests = telemetry.RequestLog(self.metrics)
        self.in_flight = InFlight()
        self.link = link_of(settings)
        self.store = store_of(settings, self.link, self.versions)
        self.pool = ArgonPool(settings.hash.profile, settings.hash.workers)
        self.transport = new_transport()
        self.senders = senders_of(settings, self.transport, self._received)
        self.addresses = Addresses(settings.service.public_url or "", settings.keys.state)
        self.remembered = Remembered()
        self.router = router_of(settings, self.senders, self.remembered, self.addresses)
        self.sharing = Sharing(self.store, self.remembered, RANDOM, self.versions)
        self.service = OtpService(self._parts())
        self._beside: list[asyncio.Task[None]] = []

    def public(self) -> Litestar:
        """Return the application for login back ends."""
        return api.public_app(self._context())

    def worker(self) -> Litestar:
        """Return the same, starting and ending this with the server that runs it."""
        app = self.public()
        app.on_startup.append(self.start)
        app.on_shutdown.append(self.stop)
        return app

    def admin(self) -> Litestar:
        """Return the application for operators."""
        return api.admin_app(self._context())

    @property
    def inboxes(self) -> list[InboxProvider]:
        """The inboxes among the providers."""
        return [one for one in self.senders.values() if isinstance(one, InboxProvider)]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Tell that it runs, and begin what runs beside it."""
        if not self.speaks_for_workers:
            await self._tell("started")
            self._start(self._housekeeping(), self._exchanging())
        if self.settings.audit.archive and (self.speaks_for_workers or self.is_dev):
            self._start(self._watch().run())

    async def stop(self) -> None:
        """Finish what runs, tell it, and close everything."""
        await self.in_flight.finish(self.settings.service.drain_seconds)
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        if self._beside and not self.speaks_for_workers:
            with suppress(StoreUnavailable):
                await self.keep_house()
                await self._tell("stopped")
        await self.router.aclose()
        await self.transport.aclose()
        self.pool.close()
        await self.link.aclose()

    async def keep_house(self) -> None:
        """Append what is only counted until now: folded refusals, and calls without a key."""
        for reason, count in self.access.drain().items():
            event = events.AccessDenied(**self._about(), reason=reason, count=count)
            await self._append(event, self.store.names.partition("access"))
        for partition in range(PARTITIONS):
            await self.store.sweep(partition, RANDOM.operation())

    async def _housekeeping(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING)
            with suppress(StoreUnavailable):
                await self.keep_house()

    async def _exchanging(self) -> None:
        while True:
            await asyncio.sleep(EXCHANGE * (0.5 + CHANCE()))  # or all workers would come at once
            with suppress(StoreUnavailable):
                await self.sharing.exchange()
                self.show_providers()

    def _start(self, *beside: Coroutine[Any, Any, None]) -> None:
        self._beside += map(asyncio.create_task, beside)

    def _watch(self) -> Watch:
        maximum = self.settings.events.maximum
        return Watch(
            sealing_of(self.settings, self.link), self.metrics, maximum, self._tell_archive
        )

    async def _tell_archive(self, reason: str) -> None:
        event = events.ArchiveChanged(**self._about(), reason=reason)
        await self._append(event, self.store.names.partition("service"))

    async def _ready(self) -> bool:
        """Whether Redis is well, and the log has room for what would be granted."""
        if not await health.ready(self.link):
            return False
        if self.settings.audit.archive is None:
            return True
        return await sealing_of(self.settings, self.link).fullest() < READY_BELOW

    def show_providers(self) -> None:
        """Tell the metrics how the providers do."""
        for one in overview(self.remembered.known, self.settings.providers, now()):
            self.metrics.provider_share(one.provider, one.share)
            for there in one.countries:
                self.metrics.provider_state(one.provider, there.country, there.state)

    def reader(self) -> Reader:
        """Return what answers questions about events."""
        return Reader(
            RedisStreams(self.link, self.store.names),
            partitions_of=self.store.partitions_of,
            ring=self.settings.keys.pseudonym,
            verify=self.store.vault.verify,
        )

    async def _tell(self, reason: str) -> None:
        """Record that the service started or stopped; Redis may be away, and may come later."""
        event = events.ServiceChanged(**self._about(), reason=reason)
        with suppress(StoreUnavailable):
            await self._append(event, self.store.names.partition("service"))

    async def _append(self, event: events.Event, partition: int) -> None:
        await self.store.commit(
            Commit(partition=partition, operation=RANDOM.operation(), events=(event,))
        )

    async def _received(self, provider: str, news: Receipt) -> None:
        """Take a receipt that came over a provider's own connection: only it can have said it."""
        caller = Caller(NOBODY, f"session-{provider}", RANDOM.operation())
        receiving = self.service.receive(caller, provider, news, trusted=True)
        received = await self.in_flight.run(receiving)
        self.metrics.receipt(provider, news.status if received.known else "unknown")
        if received.rescue:
            self.in_flight.start(self.service.rescue(caller, provider, received.rescue))

    def _about(self) -> dict[str, Any]:
        return {"id": RANDOM.bytes(16).hex(), "versions": self.versions}

    def _parts(self) -> Parts:
        settings, tenants = self.settings, self.settings.tenants()
        places = settings.hash.workers + settings.hash.queue
        return Parts(
            store=telemetry.Metered(self.store, self.metrics),
            router=telemetry.CountedRouter(self.router, self.metrics),
            hasher=telemetry.TimedHasher(self.pool, self.metrics),
            keys=settings.keys,
            policy=settings.policy,
            messages={name: settings.messages_of(name) for name in tenants},
            tenants=tenants,
            hashing=self._gate("argon2", places),
            sending=self._gate("sends", SENDS),
            random=RANDOM,
            versions=self.versions,
            patience=settings.routing.deadline_seconds * SECOND + MARGIN,
            allow_fictitious=self.is_dev or settings.mode == "test",
            only_fictitious=settings.mode == "test",
        )

    def _gate(self, name: str, places: int) -> Gate:
        tenants = len(self.settings.tenants())
        return telemetry.WatchedGate.named(name, self.metrics, places=places, tenants=tenants)

    def _context(self) -> ApiContext:
        return ApiContext(
            service=self.service,
            api_keys=self.settings.api_keys(),
            tenants=self.settings.tenants(),
            reader=self.reader(),
            ready=self._ready,
            metrics=self.metrics.render,
            observe=self._observe,
            count_denied=self.access.count,
            count_receipt=self.metrics.receipt,
            in_flight=self.in_flight,
            callbacks=self.addresses,
            certificates=Certificates(self.transport, clock=time.monotonic),
            receivers={
                name: provider
                for name, provider in self.settings.providers.items()
                if isinstance(provider, HttpSettings)
            },
            loopback_only=self.is_dev,
            admin_handlers=self._inbox() if self.is_dev else (),
        )

    def _inbox(self) -> list[HTTPRouteHandler]:
        service = self.settings.service
        address = f"http://{service.host}:{service.port}"
        return inbox_routes(self.inboxes[0].messages, service=address)

    def _observe(self, answered: Answered) -> None:
        if self.is_dev and answered.route.startswith("/inbox"):
            return  # the page asks each second
        self.requests.observe(**msgspec.structs.asdict(answered))


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


def sealing_of(settings: Settings, link: Link) -> RedisSealing:
    """Return what a sealer, and who watches it, asks of Redis."""
    names = Names(settings.keys.limit.current)
    return RedisSealing(link, names, maximum=settings.events.maximum)


async def seal(settings: Settings, stop: asyncio.Event) -> None:
    """Seal the archive of these settings until `stop` is set. Raises KeyFileUnusable."""
    signing = signing_of(settings.audit)
    async with link_of(settings) as link:
        told = versions(settings)
        store = store_of(settings, link, told)

        async def tell(reason: str, number: int) -> None:
            event = events.ArchiveChanged(
                id=RANDOM.bytes(16).hex(),
                versions=told,
                reason=reason,
                missing=number if reason == "gap" else 0,
                seal=number if reason == "dropped" else 0,
            )
            partition = store.names.partition("service")
            operation = RANDOM.operation()
            await store.commit(Commit(partition=partition, operation=operation, events=(event,)))

        outside = SealersOutside(
            holder=RANDOM.operation(),
            now=now,
            clock=time.monotonic,
            is_ours=store.vault.verify,
            tell=tell,
            retention=settings.audit.retention_days * DAY * SECOND,
            sinks=tuple(sink_of(name, one) for name, one in settings.audit.sinks.items()),
            anchors=(sink_of("anchor", settings.audit.anchor),) if settings.audit.anchor else (),
        )
        sealer = Sealer(
            sealing_of(settings, link),
            folder_of(settings.audit),
            signing,
            outside,
            seal_seconds=settings.audit.seal_seconds,
        )
        await sealer.run(stop)


def signing_of(audit: Audit) -> Signing:
    """Return the keys that seal. Raises KeyFileUnusable."""
    if audit.signing_key is None:
        raise KeyFileUnusable("audit.signing_key is missing: 'otp-service audit key' makes one")
    previous = audit.previous_signing_key
    return Signing(
        read_key(Path(audit.signing_key)), read_key(Path(previous)) if previous else None
    )


def folder_of(audit: Audit) -> Folder:
    """Return the archive's folder, to write to."""
    assert audit.archive  # the caller has looked
    return Folder(Path(audit.archive), segment_bytes=audit.segment_mib << 20)


def senders_of(
    settings: Settings,
    transport: httpx.AsyncBaseTransport,
    received: Callable[[str, Receipt], Awaitable[None]] | None = None,
) -> dict[str, Sender]:
    """Return the providers, ready to be used, by their names."""
    tools = Tools(transport, now, received) if received else Tools(transport, now)
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


def now() -> int:
    """Return milliseconds since 1970."""
    return time.time_ns() // 1_000_000
