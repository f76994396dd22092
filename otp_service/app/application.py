"""All dependencies of one process, and its background tasks."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from otp_service import telemetry
from otp_service.api.in_flight import BackgroundCalls
from otp_service.app import factories
from otp_service.app.archive import create_archive_source, create_background_verifier
from otp_service.app.archive_monitor import CHECK_INTERVAL_SECONDS as ARCHIVE_CHECK_INTERVAL_SECONDS
from otp_service.app.archive_monitor import MAX_READY_FULLNESS, ArchiveMonitor
from otp_service.app.background_tasks import BackgroundTasks
from otp_service.app.brake_sync import READ_INTERVAL_SECONDS as BRAKE_READ_INTERVAL_SECONDS
from otp_service.app.code_preparer import IDLE_SECONDS, CodePreparer
from otp_service.app.provider_health_sync import ProviderHealthSync
from otp_service.app.redis_monitor import CHECK_INTERVAL_SECONDS as REDIS_CHECK_INTERVAL_SECONDS
from otp_service.app.redis_monitor import RedisMonitor
from otp_service.app.system_events import SystemEvents
from otp_service.audit.query.archive_scan import ArchiveReader
from otp_service.audit.query.reader import EventReader
from otp_service.audit.query.stream_scan import EventStreams
from otp_service.clock import now_ms
from otp_service.core.admission import AdmissionControl, count_hash_slots
from otp_service.core.delivery import Receipt
from otp_service.core.errors import StoreUnavailable
from otp_service.core.inbound import InboundMessage, InboundResult
from otp_service.core.prepared_codes import count_prepared_codes
from otp_service.core.timestamps import SECOND_MS
from otp_service.hashing import ARGON2_CFFI, ArgonPool, MeasuredEngine, choose_engine
from otp_service.service import Caller, Dependencies, OtpService
from otp_service.service.scope_overrides import OverrideService
from otp_service.settings import Settings
from otp_service.sms.http_provider import create_transport
from otp_service.sms.provider_callbacks import CallbackUrls
from otp_service.sms.provider_status import list_provider_statuses
from otp_service.sms.router import (
    LocalProviderHealth,
    ProviderDependencies,
    ProviderRouter,
    SmsProvider,
)
from otp_service.store.brake_overrides import BrakeOverrides
from otp_service.store.data_reset import DataReset
from otp_service.store.event_streams import RedisEventStreams
from otp_service.store.health import is_ready as is_store_ready
from otp_service.store.message_id_index import RedisMessageIdIndex
from otp_service.store.message_inbox import RedisInbox
from otp_service.store.mode_mark import claim_mode, find_mode_issues
from otp_service.store.number_admin import NumberAdmin


logger = logging.getLogger(__name__)

HOUSEKEEPING_INTERVAL_SECONDS = 60.0
"""Between two flushes of folded refusals and of counted calls without a valid key."""

HEALTH_SYNC_INTERVAL_SECONDS = 1.0

MAX_CONCURRENT_SENDS = 256
"""In one process; a larger number would only wait for connections."""

MAX_RISK_CONNECTIONS = 100
"""To the risk service, in one process. They are no provider's, so one that hangs takes none of those."""

REFUND_DRAIN_SECONDS = 2.0
"""At shutdown, for refunds that wait for the store; the charges of the others stay."""

ISSUE_TIMEOUT_MARGIN_MS = 5 * SECOND_MS
"""Added to the deadlines of providers and risk service for the rest of an issue."""


class Application:
    """Everything of one process; an async context manager that starts and stops it.

    With `is_supervisor` it serves the admin listener or a command instead of calls of tenants: no
    start or stop is recorded, and no provider health is shared.
    `archive_folder` overrides the folder from which archived events are read.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        is_supervisor: bool = False,
        archive_folder: Path | None = None,
    ) -> None:
        self.settings = settings
        folder = archive_folder or settings.audit.archive_folder
        self.archive_reader = ArchiveReader(Path(folder)) if folder else None
        self.is_dev = settings.mode == "development"
        self.is_supervisor = is_supervisor
        self.versions = factories.collect_versions(settings)
        self.metrics = factories.create_metrics(settings)
        self.access_counter = telemetry.DeniedAccessCounter(self.metrics)
        self.request_log = telemetry.RequestLog(self.metrics)
        self.tracing = None if is_supervisor else factories.create_tracing(settings)
        self.background_calls = BackgroundCalls()
        self.script_client = factories.create_client(settings)
        self.archive_source = create_archive_source(settings, self.script_client)
        self.store = factories.create_store(settings, self.script_client, self.versions)
        self.system_events = SystemEvents(
            self.store, self.access_counter, self.versions, settings.keys.pseudonym.current
        )
        self.scope_overrides = OverrideService(
            BrakeOverrides(self.store),
            factories.RANDOM_SOURCE,
            self.versions,
            settings.keys.pseudonym.current,
        )
        self.hash_pool = ArgonPool(
            self._choose_hash_engine(), settings.hash.profile, settings.hash.workers
        )
        self.transport = create_transport()
        self.risk_transport = create_transport(
            max_connections=MAX_RISK_CONNECTIONS,
            max_connections_per_provider=MAX_RISK_CONNECTIONS,
        )
        self.inbox = RedisInbox(self.store, now_ms) if settings.accepts_fictitious else None
        self.providers = self._create_providers()
        self.callback_urls = CallbackUrls(settings.service.public_url or "", settings.keys.state)
        self.provider_health = health = LocalProviderHealth()
        self.router = self._create_router()
        random = factories.RANDOM_SOURCE
        self.provider_health_sync = ProviderHealthSync(self.store, health, random, self.versions)
        self.prepared_codes = self._create_prepared_codes()
        self.brake = factories.create_brake(settings)
        self.brake_sync = factories.create_brake_sync(
            settings, self.store, self.brake, health, self.versions
        )
        self.service = OtpService(self._create_dependencies())
        self.background_verifier = create_background_verifier(settings.audit)
        self._background_tasks = BackgroundTasks()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Record the start (not for a supervisor) and start the background tasks."""
        tasks = self._background_tasks
        if self.is_supervisor:
            flush = self.system_events.record_denied_access
        else:
            flush = self.system_events.flush_counted_events
            await self.system_events.record_service_change("started")
            with suppress(StoreUnavailable):
                await self.brake_sync.load()
                self.update_brake_metrics()
            preparer = CodePreparer(
                self.prepared_codes,
                self.hash_pool,
                factories.RANDOM_SOURCE,
                self.settings.policy.digits,
            )
            tasks.start_periodic(IDLE_SECONDS, preparer.prepare_next)
            tasks.start_periodic(
                HEALTH_SYNC_INTERVAL_SECONDS,
                self._sync_provider_health,
                # A random start keeps the workers from writing at the same moment.
                first_after=HEALTH_SYNC_INTERVAL_SECONDS * factories.RANDOM_FRACTION(),
            )
            tasks.start_periodic(
                BRAKE_READ_INTERVAL_SECONDS,
                self._sync_brake,
                first_after=BRAKE_READ_INTERVAL_SECONDS * factories.RANDOM_FRACTION(),
            )
        tasks.start_periodic(HOUSEKEEPING_INTERVAL_SECONDS, flush)
        if self.is_supervisor or self.is_dev:
            monitor = RedisMonitor(self.script_client, self.metrics, self.settings.mode)
            tasks.start_periodic(REDIS_CHECK_INTERVAL_SECONDS, monitor.update_metrics)
        if self.is_supervisor or self.is_dev:
            self.metrics.set_key_expiries(self.settings.build_api_keys())
        if self.settings.audit.archive_folder and (self.is_supervisor or self.is_dev):
            limit, record = self.settings.events.maximum, self.system_events.record_fullness_change
            archive_monitor = ArchiveMonitor(self.archive_source, self.metrics, limit, record)
            tasks.start_periodic(
                ARCHIVE_CHECK_INTERVAL_SECONDS, archive_monitor.run_once, first_after=0
            )

    async def stop(self) -> None:
        """Wait for calls in progress, record the stop, and close every resource."""
        await self.background_calls.drain(self.settings.service.drain_seconds)
        await self.service.refunds.drain(REFUND_DRAIN_SECONDS)
        await self._background_tasks.stop()
        if self._background_tasks.has_started:
            await self._record_stop()
        if self.background_verifier:
            await self.background_verifier.aclose()
        await self.router.aclose()
        await self.transport.aclose()
        await self.risk_transport.aclose()
        self.hash_pool.close()
        self.prepared_codes.close()
        await self.script_client.aclose()
        if self.tracing:
            await asyncio.to_thread(self.tracing.close)

    async def _record_stop(self) -> None:
        with suppress(StoreUnavailable):
            if self.is_supervisor:
                await self.system_events.record_denied_access()
            else:
                await self.system_events.flush_counted_events()
                await self.system_events.record_service_change("stopped")

    async def _sync_provider_health(self) -> None:
        await self.provider_health_sync.sync_health()
        self.update_provider_metrics()

    async def _sync_brake(self) -> None:
        await self.brake_sync.sync()
        self.update_brake_metrics()

    def update_brake_metrics(self) -> None:
        """Publish what was learned, and how much of the allowances and of the day's budget is used."""
        learned, metrics = self.brake.learned, self.metrics.brake
        metrics.set_learned_traffic(learned)
        budgets = [settings.day_budget for settings in self.brake.settings.values()]
        metrics.set_day_spend(learned.day_spend, max(budgets, default=0))

    def update_provider_metrics(self) -> None:
        health = self.provider_health.health
        for status in list_provider_statuses(health, self.settings.providers, now_ms()):
            self.metrics.set_provider_share(status.provider, status.share)
            for country in status.countries:
                self.metrics.set_breaker_state(status.provider, country.country, country.state)

    async def begin_development(self) -> None:
        """Mark the Redis of `dev`, and forget the limits and messages of the run before.

        Raises StoreUnavailable.
        """
        await claim_mode(self.script_client, self.settings.mode)
        reset = DataReset(self.store, self.settings.mode)
        await reset.delete_limit_state(factories.RANDOM_SOURCE.generate_operation_id())

    async def reset_data(self) -> None:
        """Delete what calls have stored, outside of live mode. Raises StoreUnavailable."""
        reset = DataReset(self.store, self.settings.mode)
        count = await reset.delete_all(factories.RANDOM_SOURCE.generate_operation_id())
        logger.warning("challenges, limits and messages were deleted: %d keys", count)

    async def is_ready(self) -> bool:
        """Whether Redis is usable, of this mode, and its log has space for the events of new requests.

        A process that has not read what the brake has learned would refuse honest people.
        """
        if not self.is_supervisor and not self.brake_sync.has_loaded:
            return False
        if not await is_store_ready(self.script_client):
            return False
        if await find_mode_issues(self.script_client, self.settings.mode):
            return False
        if self.settings.audit.archive_folder is None:
            return True
        return await self.archive_source.measure_fullness() < MAX_READY_FULLNESS

    def create_reader(self, streams: EventStreams | None = None) -> EventReader:
        """Return a reader of the archive and of `streams`, by default those in Redis."""
        return EventReader(
            streams or RedisEventStreams(self.script_client, self.store.key_names),
            partitions_of=self.store.list_number_partitions,
            ring=self.settings.keys.pseudonym,
            verify_mac=self.store.cipher.verify_event,
            has_mac_key=self.store.cipher.has_key_for,
            archive=self.archive_reader,
        )

    async def _handle_session_receipt(self, provider: str, receipt: Receipt) -> None:
        """Handle a receipt from the provider's own connection, which authenticates it."""
        operation_id = factories.RANDOM_SOURCE.generate_operation_id()
        caller = Caller.without_tenant(f"session-{provider}", operation_id)
        await self.handle_receipt(caller, provider, receipt, trusted=True)

    async def handle_receipt(
        self, caller: Caller, provider: str, receipt: Receipt, *, trusted: bool
    ) -> None:
        """Handle and count a receipt, and start the auto-resend that it causes."""
        call = self.service.handle_receipt(caller, provider, receipt, trusted=trusted)
        result = await self.background_calls.run_shielded(call)
        self.metrics.count_receipt(provider, receipt.status if result.is_known else "unknown")
        if trusted and receipt.reference and not result.is_known:
            # A receipt without a reference is logged by its provider, with the reason.
            logger.info("provider %s: a receipt of a message that is no longer stored", provider)
        if reference := result.auto_resend_reference:
            # The provider expects its answer at once, and the resend does not concern it.
            sleep = self.background_calls.sleep
            resend = self.service.auto_resend(caller, provider, reference, sleep)
            self.background_calls.start_detached(resend)

    async def _handle_session_inbound(self, provider: str, message: InboundMessage) -> None:
        """Handle a message from the provider's own connection, which authenticates it."""
        operation_id = factories.RANDOM_SOURCE.generate_operation_id()
        caller = Caller.without_tenant(f"session-{provider}", operation_id)
        await self.handle_inbound(caller, provider, message)

    async def handle_inbound(
        self, caller: Caller, provider: str, message: InboundMessage
    ) -> InboundResult:
        """Handle and count a message from a phone that only this provider can have passed on.

        Return what came of it, which no vendor needs. Raises StoreUnavailable: the provider has to bring the message again.
        """
        call = self.service.handle_inbound(caller, provider, message)
        result = await self.background_calls.run_shielded(call)
        self.access_counter.count_inbound_message(provider, result)
        return result

    def _create_providers(self) -> dict[str, SmsProvider]:
        on_receipt: Callable[[str, Receipt], Awaitable[None]] = self._handle_session_receipt
        on_inbound: Callable[[str, InboundMessage], Awaitable[None]] = self._handle_session_inbound
        if self.tracing:
            on_receipt = self.tracing.trace_as_root("receipt", on_receipt)
            on_inbound = self.tracing.trace_as_root("inbound", on_inbound)
        dependencies = ProviderDependencies(
            self.transport,
            now_ms,
            on_receipt,
            on_inbound,
            message_ids=RedisMessageIdIndex(self.store),
            inbox=self.inbox,
            count_skipped_event=self.access_counter.count_callback,
        )
        return factories.create_providers(self.settings, dependencies)

    def _create_router(self) -> ProviderRouter:
        providers = self.providers
        if self.tracing:
            providers = {name: self.tracing.trace_provider(p) for name, p in providers.items()}
        return factories.create_router(
            self.settings, providers, self.provider_health, self.callback_urls
        )

    def _choose_hash_engine(self) -> MeasuredEngine:
        if self.is_supervisor:
            return MeasuredEngine(ARGON2_CFFI, 0.0)  # it computes no hash, so it measures none
        engine, hash_ms = chosen = choose_engine(self.settings.hash.profile)
        self.metrics.set_argon2_engine(engine.name, hash_ms)
        logger.info("argon2 by %s: %.1f ms of CPU a hash", engine.name, hash_ms)
        return chosen

    def _create_dependencies(self) -> Dependencies:
        settings, tenants = self.settings, self.settings.build_tenants()
        hash_slots = count_hash_slots(
            settings.hash.workers, settings.hash.max_wait_milliseconds, self.hash_pool.hash_ms
        )
        deadline_ms = settings.routing.deadline_seconds * SECOND_MS
        deadline_ms += settings.risk.deadline_milliseconds if settings.risk else 0
        return Dependencies(
            store=telemetry.InstrumentedStore(self.store, self.metrics, self.tracing),
            number_registry=NumberAdmin(self.store, settings.keys.pseudonym),
            router=telemetry.InstrumentedRouter(self.router, self.metrics, self.tracing),
            hasher=telemetry.InstrumentedHasher(self.hash_pool, self.metrics, self.tracing),
            keys=settings.keys,
            policy=settings.policy,
            message_renderers={name: settings.create_message_renderer(name) for name in tenants},
            tenants=tenants,
            hash_slots=self._create_admission("argon2", hash_slots),
            verify_slots=self._create_admission("argon2_verify", hash_slots),
            send_slots=self._create_admission("sends", MAX_CONCURRENT_SENDS),
            prepared_codes=self.prepared_codes,
            random=factories.RANDOM_SOURCE,
            keywords=settings.build_keyword_table(),
            opt_out_scopes=settings.build_opt_out_scopes(),
            versions=self.versions,
            issue_timeout_ms=deadline_ms + ISSUE_TIMEOUT_MARGIN_MS,
            allow_fictitious=settings.accepts_fictitious,
            only_fictitious=settings.only_fictitious,
            fixed_codes=settings.effective_fixed_codes,
            risk_service=self._create_risk_service(),
            brake=self.brake,
        )

    def _create_risk_service(self) -> telemetry.InstrumentedRiskService | None:
        client = factories.create_risk_client(self.settings, self.risk_transport)
        if client is None:
            return None
        return telemetry.InstrumentedRiskService(client, self.metrics, self.tracing)

    def _create_prepared_codes(self) -> telemetry.InstrumentedPreparedCodes:
        table, count = self.settings.hash, 0
        if not self.is_supervisor:
            count = count_prepared_codes(table.max_prepared_codes, self.hash_pool.hash_ms)
        digits = self.settings.policy.digits
        return telemetry.InstrumentedPreparedCodes(count, digits, table.profile, self.metrics)

    def _create_admission(self, name: str, slots: int) -> AdmissionControl:
        create = telemetry.InstrumentedAdmission.create_named
        if self.is_supervisor:
            slots = 0  # the metric is summed over processes
        return create(name, self.metrics, slots=slots, tenants=len(self.settings.tenant_settings))
