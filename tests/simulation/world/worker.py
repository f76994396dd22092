"""One process of the service, built as `app/application.py` does it, that can die at any step."""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

from otp_service.api.in_flight import BackgroundCalls
from otp_service.app.application import (
    ISSUE_TIMEOUT_MARGIN_MS,
    MAX_CONCURRENT_SENDS,
    REFUND_DRAIN_SECONDS,
)
from otp_service.app.background_tasks import BackgroundTasks
from otp_service.core.admission import AdmissionControl, count_hash_slots
from otp_service.core.events import EpochStarted
from otp_service.core.prepared_codes import PreparedCodes
from otp_service.core.timestamps import DAY_MS, SECOND_MS
from otp_service.service import Brake, Dependencies, OtpService
from otp_service.sms.router import LocalProviderHealth, ProviderRouter, RouterEnvironment
from otp_service.store.client import ScriptClient
from otp_service.store.key_names import KeyNames
from otp_service.store.number_admin import NumberAdmin
from otp_service.store.record_cipher import RecordCipher
from otp_service.store.redis_store import RedisStore
from otp_service.store.rotating_store import RotatingStore
from otp_service.store.server_lines import ServerLines
from tests.simulation.world.configuration import Configuration
from tests.simulation.world.hasher import SimulatedHasher
from tests.simulation.world.host import Host
from tests.simulation.world.jobs import start_jobs
from tests.simulation.world.site import Site
from tests.simulation.world.store_lines import HostConnector, cut_lines
from tests.simulation.world.vendor import ProviderLink


T = TypeVar("T")

HASH_THREADS = 2
MAX_PREPARED_CODES = 4


class Worker:
    """A process with everything that it remembers; a restart makes another one."""

    def __init__(self, name: str, host: Host, configuration: Configuration, site: Site) -> None:
        """Build the process. `name` is that of its place, and `host` has its clock."""
        self.name = name
        self.host = host
        self.configuration = configuration
        self.site = site
        self.is_dead = False
        self.chance = site.chance.derive(f"worker {name} {host.count_process()}")
        self.random = self.chance.to_random_source()
        self.hasher = SimulatedHasher(
            self.chance.derive("hasher"),
            partial(site.recorder.record_comparison, name),
            threads=HASH_THREADS,
        )
        self.lines = ServerLines(HostConnector(host.name, site))
        self.client = ScriptClient(
            self.lines,
            replicas=site.replicas,
            wait_ms=site.wait_ms,
            draw_bytes=self.random.token_bytes,
        )
        self.store = self._create_store()
        self.health = LocalProviderHealth()
        self.prepared_codes = PreparedCodes(
            MAX_PREPARED_CODES, configuration.settings.policy.digits, self.hasher.profile
        )
        self.brake = Brake(
            configuration.brake_settings,
            configuration.prices,
            now=host.clock.read_ms,
            find_provider=configuration.routes.find_first_provider,
        )
        self.service = OtpService(self._create_dependencies())
        self.background_calls = BackgroundCalls()
        self.jobs = BackgroundTasks()
        start_jobs(self)

    async def run_call(self, call: Coroutine[Any, Any, T]) -> T:
        """Return the result of a call, which goes on if this is canceled, as `api/` does it."""
        return await self.background_calls.run_shielded(call)

    def crash(self) -> None:
        """End the process at once: nothing that it does afterwards has an effect."""
        self.is_dead = True
        cut_lines(self.lines)
        refunds = self.service.refunds._retrying
        for task in (*self.background_calls._tasks, *self.jobs._tasks, refunds):
            if task is not None:
                task.cancel()

    async def stop(self) -> None:
        """End the process as a deployment does: calls in progress end first."""
        await self.background_calls.drain(self.configuration.settings.service.drain_seconds)
        await self.service.refunds.drain(REFUND_DRAIN_SECONDS)
        await self.jobs.stop()
        await self.client.aclose()
        self.crash()

    @property
    def is_idle(self) -> bool:
        """Whether no call is running, and no refund waits for the store."""
        return not self.background_calls and not self.service.refunds

    def _create_store(self) -> RedisStore:
        settings = self.configuration.settings
        names, *earlier = map(KeyNames, settings.keys.limit)
        return (RotatingStore if earlier else RedisStore)(
            self.client,
            names,
            RecordCipher(settings.keys, self.random.token_bytes),
            earlier_key_names=earlier,
            epoch_event=EpochStarted(id="epoch", versions=self.configuration.versions),
            retention_ms=settings.events.retention_days * DAY_MS,
            max_stream_entries=self.site.log.max_entries,
            has_archive=self.site.log.has_archive,
        )

    def _create_router(self) -> ProviderRouter:
        settings = self.configuration.settings
        route_key = settings.keys.limit.current
        loop = asyncio.get_running_loop()
        return ProviderRouter(
            [
                ProviderLink(vendor, lambda: not self.is_dead)
                for vendor in self.site.vendors.values()
            ],
            self.configuration.routes,
            self.health,
            environment=RouterEnvironment(
                clock=loop.time,
                now=self.host.clock.read_ms,
                random_float=self.chance.derive("router").draw_fraction,
                pseudonymize=lambda number: route_key.compute_mac("route", number.encode())[
                    :8
                ].hex(),
            ),
            deadline_seconds=settings.routing.deadline_seconds,
            max_submissions=settings.routing.max_submissions,
        )

    def _create_dependencies(self) -> Dependencies:
        settings, tenants = self.configuration.settings, self.configuration.tenants
        slots = count_hash_slots(
            HASH_THREADS, settings.hash.max_wait_milliseconds, self.hasher.hash_ms
        )
        create_admission = partial(AdmissionControl.create_fair, tenants=len(tenants))
        deadline_ms = settings.routing.deadline_seconds * SECOND_MS
        return Dependencies(
            store=self.store,
            number_registry=NumberAdmin(self.store, settings.keys.pseudonym),
            router=self._create_router(),
            hasher=self.hasher,
            keys=settings.keys,
            policy=settings.policy,
            message_renderers=self.configuration.message_renderers,
            tenants=tenants,
            hash_slots=create_admission(slots),
            verify_slots=create_admission(slots),
            send_slots=create_admission(MAX_CONCURRENT_SENDS),
            prepared_codes=self.prepared_codes,
            random=self.random,
            keywords=self.configuration.keywords,
            opt_out_scopes=self.configuration.opt_out_scopes,
            versions=self.configuration.versions,
            issue_timeout_ms=deadline_ms + ISSUE_TIMEOUT_MARGIN_MS,
            brake=self.brake,
        )
