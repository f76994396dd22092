"""What one process knows for the brake on SMS pumping, kept as in Redis: read every five seconds.

What was learned is one record for all processes. Once a minute one of them computes it and swaps it by
its version; a process that was later than another one reads what the other has written. Without Redis
each process continues with what it has read last, and a new one with the floors.
"""

import logging
from collections.abc import Callable
from typing import Final

from otp_service.app.traffic_learner import TrafficLearner
from otp_service.core.errors import StoreTampered
from otp_service.core.events import BrakeMoved, Event, Tampered
from otp_service.core.pumping.learned_traffic import (
    LearnedTraffic,
    ScopeFigures,
    parse_country,
    parse_tenant,
)
from otp_service.core.pumping.scopes import DebtLimit
from otp_service.core.timestamps import HOUR_MS, MINUTE_MS, SECOND_MS
from otp_service.service import RandomSource
from otp_service.service.brake import Brake
from otp_service.store.brake_records import BrakeRecords, BrakeSnapshot


logger = logging.getLogger(__name__)

READ_INTERVAL_SECONDS: Final = 5.0
LEARN_INTERVAL_MS: Final = MINUTE_MS
MAX_DELAY_MS: Final = 10 * SECOND_MS
"""A random part of it is added in each process, so that usually one of them computes."""


class BrakeSync:
    """Keeps one process's `Brake` as the records are. `versions` are those of its events."""

    def __init__(  # noqa: PLR0913  # its parts
        self,
        records: BrakeRecords,
        learner: TrafficLearner,
        brake: Brake,
        *,
        random: RandomSource,
        draw_fraction: Callable[[], float],
        versions: dict[str, str],
    ) -> None:
        self._records = records
        self._learner = learner
        self._brake = brake
        self._random = random
        self._delay_ms = round(MAX_DELAY_MS * draw_fraction())
        self._versions = versions
        self._snapshot = BrakeSnapshot()

    @property
    def has_loaded(self) -> bool:
        """Whether the records were read once."""
        return self._snapshot.now > 0

    async def sync(self) -> None:
        """Read both records, and compute what was learned if that is due. Raises StoreUnavailable."""
        await self._read_and_record()
        age_ms = self._snapshot.now - self._snapshot.learned.computed_at
        # Of an instant in the future the clock was set back.
        if not 0 <= age_ms < LEARN_INTERVAL_MS + self._delay_ms:
            await self._learn()

    async def load(self) -> None:
        """Read both records before the process serves, and compute figures that are missing or old.

        Raises StoreUnavailable.
        """
        await self._read_and_record()
        if self._snapshot.learned.hour != self._snapshot.now // HOUR_MS:
            await self._learn()

    async def read_once(self) -> None:
        """Read both records for a command, which has read none before that would hold instead.

        Raises StoreUnavailable, also if one of them cannot be opened: StoreTampered and StoreKeyUnknown.
        """
        await self.read()
        for failure in self._snapshot.failures:
            raise failure.error

    async def read(self) -> None:
        """Read both records. Raises StoreUnavailable."""
        self._snapshot = await self._records.read(self._snapshot)
        self._brake.follow_clock(self._snapshot.now)
        self._brake.learned = self._snapshot.learned
        self._brake.overrides = self._snapshot.overrides

    async def _read_and_record(self) -> None:
        """Read both records, log those that cannot be opened, and record those with a wrong MAC."""
        await self.read()
        for failure in self._snapshot.failures:
            text = (
                "the record %s cannot be opened (%s): what this process has read before is in force"
            )
            cause = failure.error.cause or "it has a wrong MAC"
            logger.warning(text, failure.key, cause)
            if isinstance(failure.error, StoreTampered):
                await self._record_tampering(failure.key)

    async def _record_tampering(self, key: str) -> None:
        operation_id = self._random.generate_operation_id()
        event = Tampered(
            id=self._random.generate_operation_id(), versions=self._versions, record=key
        )
        await self._records.record_tampering(event, operation_id)

    async def _learn(self) -> None:
        read = self._snapshot
        learned = await self._learner.learn(read.learned, read.now)
        events = tuple(self._list_events(read.learned, learned))
        operation_id = self._random.generate_operation_id()
        await self._records.replace_learned(read, learned, events, operation_id)
        await self.read()

    def _list_events(self, before: LearnedTraffic, after: LearnedTraffic) -> list[Event]:
        """Return an event for each country that ran out of its budget, or has room again."""
        return [
            self._build_event(scope, figures)
            for scope, figures in after.scopes.items()
            if figures.has_refusals != before.scopes.get(scope, ScopeFigures()).has_refusals
        ]

    def _build_event(self, scope: str, figures: ScopeFigures) -> Event:
        tenant, country = parse_tenant(scope), parse_country(scope)
        state = "over" if figures.has_refusals else "normal"
        logger.warning("the brake of tenant %s for %s is %s", tenant, country, state)
        debts = zip(figures.debt, figures.allowance, strict=True)
        unverified, allowance = max(debts, key=lambda pair: pair[0] / max(1, pair[1]))
        return BrakeMoved(
            id=self._random.generate_operation_id(),
            versions=self._versions,
            tenant=tenant,
            country=country,
            state=state,
            mode=self._brake.settings[tenant].mode,
            limit=DebtLimit.UNVERIFIED_COUNTRY,
            unverified=unverified,
            allowance=allowance,
        )
