"""The background jobs of a worker, as `app/application.py` starts them, at longer intervals.

Most of a simulated run is waiting, in which a job every second would take more time of the computer
than all calls. So a seed draws which jobs run in it.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from otp_service.app.brake_sync import BrakeSync
from otp_service.app.code_preparer import CodePreparer
from otp_service.app.provider_health_sync import ProviderHealthSync
from otp_service.app.traffic_learner import TrafficLearner
from otp_service.sms.routes import get_first_provider
from otp_service.store.brake_records import BrakeRecords
from otp_service.store.traffic_totals import TrafficTotals


if TYPE_CHECKING:
    from tests.simulation.world.worker import Worker

PREPARE_CODES: Final = "prepare codes"
SHARE_HEALTH: Final = "share health"
FOLLOW_BRAKE: Final = "follow brake"
JOB_NAMES: Final = (PREPARE_CODES, SHARE_HEALTH, FOLLOW_BRAKE)

HEALTH_INTERVAL_SECONDS: Final = 15.0
BRAKE_INTERVAL_SECONDS: Final = 40.0
MIN_PREPARATION_SECONDS: Final = 5.0


def start_jobs(worker: "Worker") -> None:
    """Start the jobs that run in this world, each at a drawn time."""
    jobs, chance = worker.site.jobs, worker.chance.derive("jobs")
    if PREPARE_CODES in jobs:
        job = PreparationJob(worker)
        worker.jobs.start_periodic(
            MIN_PREPARATION_SECONDS, job.prepare_next, first_after=chance.draw_fraction()
        )
    if SHARE_HEALTH in jobs:
        sync = ProviderHealthSync(
            worker.store, worker.health, worker.random, worker.configuration.versions
        )
        worker.jobs.start_periodic(
            HEALTH_INTERVAL_SECONDS,
            HealthJob(sync).share,
            first_after=HEALTH_INTERVAL_SECONDS * chance.draw_fraction(),
        )
    if FOLLOW_BRAKE in jobs:
        worker.jobs.start_periodic(
            BRAKE_INTERVAL_SECONDS,
            create_brake_sync(worker).sync,
            first_after=BRAKE_INTERVAL_SECONDS * chance.draw_fraction(),
        )


class PreparationJob:
    """Prepares codes in bursts, with pauses in which the stock may run out."""

    def __init__(self, worker: "Worker") -> None:
        self._stock = worker.prepared_codes
        self._preparer = CodePreparer(
            worker.prepared_codes,
            worker.hasher,  # type: ignore[arg-type]  # it has what of a pool the preparer needs
            worker.random,
            worker.configuration.settings.policy.digits,
            read_clock=asyncio.get_running_loop().time,
        )

    async def prepare_next(self) -> float:
        """Prepare a code, and return the seconds to wait until the next call."""
        seconds = await self._preparer.prepare_next()
        return MIN_PREPARATION_SECONDS if self._stock.is_full else max(0.05, seconds)


class HealthJob:
    def __init__(self, sync: ProviderHealthSync) -> None:
        self._sync = sync

    async def share(self) -> None:
        """Exchange what was seen of the providers."""
        await self._sync.sync_health()


def create_brake_sync(worker: "Worker") -> BrakeSync:
    """Return the job that keeps the brake of a worker as the records are."""
    configuration, health = worker.configuration, worker.health

    def list_breakers(country: str) -> list[int]:
        breakers = health.health.breakers
        route = configuration.routes.find_country_route(country)
        names = (f"{provider} {country}" for provider in route)
        return [breakers[name].open_until if name in breakers else 0 for name in names]

    def find_price(country: str) -> int:
        provider = get_first_provider(configuration.routes.find_country_route(country))
        return configuration.prices.find_price(country, provider)

    totals = TrafficTotals(worker.store)
    return BrakeSync(
        BrakeRecords(worker.store),
        TrafficLearner(totals, worker.brake.settings, find_price, list_breakers),
        worker.brake,
        random=worker.random,
        draw_fraction=worker.chance.derive("brake").draw_fraction,
        versions=configuration.versions,
    )
