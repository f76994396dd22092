"""One process's worth of the service, and what runs beside its requests."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import msgspec

from otp_service import __version__, telemetry
from otp_service.api.callbacks import NOBODY
from otp_service.api.in_flight import InFlight
from otp_service.app.archive import sealing_of, verifications_of
from otp_service.app.archive_monitor import READY_BELOW, Watch
from otp_service.app.factories import (
    CHANCE,
    RANDOM,
    link_of,
    now,
    router_of,
    senders_of,
    store_of,
    tracing_of,
    versions,
)
from otp_service.app.provider_health_sync import Sharing
from otp_service.app.system_events import Telling
from otp_service.audit.query.archive_scan import Archive
from otp_service.audit.query.reader import Reader
from otp_service.core.admission import Gate
from otp_service.core.delivery import Receipt
from otp_service.core.errors import StoreUnavailable
from otp_service.core.policy import SECOND
from otp_service.hashing import ArgonPool
from otp_service.service import Caller, OtpService, Parts
from otp_service.settings import Settings
from otp_service.sms.callbacks import Addresses
from otp_service.sms.http_provider import new_transport
from otp_service.sms.provider_status import overview
from otp_service.sms.providers.inbox import InboxProvider
from otp_service.sms.router import Remembered, Tools
from otp_service.store import health
from otp_service.store.event_streams import RedisStreams
from otp_service.store.message_ids import RedisSubmissions


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
    `archive` is the folder to read archived events in, if it is not the configured one.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        is_dev: bool = False,
        speaks_for_workers: bool = False,
        archive: Path | None = None,
    ) -> None:
        self.settings = settings
        folder = archive or settings.audit.archive
        self.archive = Archive(Path(folder)) if folder else None
        self.is_dev = is_dev
        self.speaks_for_workers = speaks_for_workers
        self.versions = versions(settings)
        self.metrics = telemetry.Metrics(
            __version__, tenants=settings.tenants(), providers=settings.providers
        )
        self.access = telemetry.AccessCounter(self.metrics)
        self.requests = telemetry.RequestLog(self.metrics)
        self.tracing = None if speaks_for_workers else tracing_of(settings)
        self.in_flight = InFlight()
        self.link = link_of(settings)
        self.store = store_of(settings, self.link, self.versions)
        self.telling = Telling(
            self.store, self.access, self.versions, settings.keys.pseudonym.current
        )
        self.pool = ArgonPool(settings.hash.profile, settings.hash.workers)
        self.transport = new_transport()
        received: Callable[[str, Receipt], Awaitable[None]] = self._received
        if self.tracing:
            received = self.tracing.apart("receipt", received)
        tools = Tools(self.transport, now, received, RedisSubmissions(self.store))
        self.senders = senders_of(settings, tools)
        self.addresses = Addresses(settings.service.public_url or "", settings.keys.state)
        self.remembered = Remembered()
        senders = self.senders
        if self.tracing:
            senders = {name: self.tracing.provider(one) for name, one in senders.items()}
        self.router = router_of(settings, senders, self.remembered, self.addresses)
        self.sharing = Sharing(self.store, self.remembered, RANDOM, self.versions)
        self.service = OtpService(self._traced(self._parts()))
        self.verifications = verifications_of(settings.audit)
        self._beside: list[asyncio.Task[None]] = []

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
        if self.speaks_for_workers:
            self._start(again(HOUSEKEEPING, self.telling.strangers))
        else:
            await self.telling.service("started")
            self._start(again(HOUSEKEEPING, self.telling.everything), self._exchanging())
        if self.settings.audit.archive and (self.speaks_for_workers or self.is_dev):
            self._start(self._watch().run())

    async def stop(self) -> None:
        """Finish what runs, tell it, and close everything."""
        await self.in_flight.finish(self.settings.service.drain_seconds)
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        if self._beside:
            await self._finish()
        if self.verifications:
            await self.verifications.aclose()
        await self.router.aclose()
        await self.transport.aclose()
        self.pool.close()
        await self.link.aclose()
        if self.tracing:
            await asyncio.to_thread(self.tracing.close)

    async def _finish(self) -> None:
        """Tell the log what it was not told yet."""
        with suppress(StoreUnavailable):
            if self.speaks_for_workers:
                await self.telling.strangers()
            else:
                await self.telling.everything()
                await self.telling.service("stopped")

    async def _exchanging(self) -> None:
        await asyncio.sleep(EXCHANGE * CHANCE())  # or all workers would come at once
        await again(EXCHANGE, self._exchange)

    async def _exchange(self) -> None:
        await self.sharing.exchange()
        self.show_providers()

    def _start(self, *beside: Coroutine[Any, Any, None]) -> None:
        self._beside += map(asyncio.create_task, beside)

    def _watch(self) -> Watch:
        source, maximum = sealing_of(self.settings, self.link), self.settings.events.maximum
        return Watch(source, self.metrics, maximum, self.telling.archive)

    def show_providers(self) -> None:
        """Tell the metrics how the providers do."""
        for one in overview(self.remembered.known, self.settings.providers, now()):
            self.metrics.provider_share(one.provider, one.share)
            for there in one.countries:
                self.metrics.provider_state(one.provider, there.country, there.state)

    async def ready(self) -> bool:
        """Whether Redis is well, and the log has room for what would be granted."""
        if not await health.ready(self.link):
            return False
        if self.settings.audit.archive is None:
            return True
        return await sealing_of(self.settings, self.link).fullest() < READY_BELOW

    def reader(self) -> Reader:
        """Return what answers questions about events."""
        return Reader(
            RedisStreams(self.link, self.store.names),
            partitions_of=self.store.partitions_of,
            ring=self.settings.keys.pseudonym,
            verify=self.store.vault.verify,
            knows=self.store.vault.knows,
            archive=self.archive,
        )

    async def _received(self, provider: str, news: Receipt) -> None:
        """Take a receipt that came over a provider's own connection: only it can have said it."""
        caller = Caller(NOBODY, f"session-{provider}", RANDOM.operation())
        receiving = self.service.receive(caller, provider, news, trusted=True)
        received = await self.in_flight.run(receiving)
        self.metrics.receipt(provider, news.status if received.known else "unknown")
        if received.rescue:
            self.in_flight.start(self.service.rescue(caller, provider, received.rescue))

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

    def _traced(self, parts: Parts) -> Parts:
        if self.tracing is None:
            return parts
        return msgspec.structs.replace(
            parts,
            store=self.tracing.store(parts.store),
            router=self.tracing.router(parts.router),
            hasher=self.tracing.hasher(parts.hasher),
        )

    def _gate(self, name: str, places: int) -> Gate:
        tenants = len(self.settings.tenants())
        if self.speaks_for_workers:
            places = 0  # or it would add to theirs
        return telemetry.WatchedGate.named(name, self.metrics, places=places, tenants=tenants)


async def again(seconds: float, do: Callable[[], Awaitable[None]]) -> None:
    """Do it again and again with a pause before each time; if Redis is away, the next one may."""
    while True:
        await asyncio.sleep(seconds)
        with suppress(StoreUnavailable):
            await do()
