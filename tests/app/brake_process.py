"""Processes that share a brake through a real Redis, by a clock that only the test moves."""

import os
import secrets
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from otp_service.app.brake_sync import BrakeSync
from otp_service.app.traffic_learner import TrafficLearner
from otp_service.core.commit import Commit, CommitOutcome, Committed, OverDebt, Undone
from otp_service.core.phone_number import PhoneNumber, parse_number
from otp_service.core.pumping.commits import SendDebt, TrafficName
from otp_service.core.pumping.outages import EVIDENCE_SLOT_MS
from otp_service.core.pumping.prices import DEFAULT_PRICE_TABLE
from otp_service.core.pumping.send_debts import BrakeSettings
from otp_service.core.timestamps import HOUR_MS
from otp_service.service import RandomSource
from otp_service.service.brake import Brake, PlannedSend
from otp_service.store.brake_records import BrakeRecords
from otp_service.store.traffic_totals import TrafficTotals
from tests.store.frozen_store import FrozenStore


PRICE = DEFAULT_PRICE_TABLE.find_price("DE")
SETTINGS = BrakeSettings(day_budget=10**12)


class SharedStore(FrozenStore):
    """The store of an installation; reads have the time of the test as well."""

    async def read_values(self, keys: tuple[str, ...]) -> list[Any]:
        _, *values = await super().read_values(keys)
        return [self.now, *values]

    async def write_fields(self, fields: dict[str, int | str], tenant: str = "shop") -> None:
        """Write totals of Germany."""
        partition = self.key_names.compute_shared_partition()
        key = self.key_names.traffic_key(partition, TrafficName(tenant, "DE"))
        index = self.key_names.traffic_index_key(partition)
        flat = [part for field in fields.items() for part in field]
        await self.client.repeat_commands(key, [("HSET", key, *flat)])
        await self.client.repeat_commands(index, [("SADD", index, f"{tenant} DE")])

    async def write_history(self, *, verified: int, unverified: int, days: int = 14) -> None:
        """Write the totals of the days until this hour; the counts are messages in each hour."""
        hour = self.now // HOUR_MS
        for kind, count in (("v", verified), ("u", unverified)):
            hours = range(hour - 24 * days, hour)
            await self.write_fields({f"{each}:{kind}": count * PRICE for each in hours})

    async def write_usual_logins(self, *, sent: int, verified: int) -> None:
        """Write the exempt sends of each ten minutes from two days ago until now."""
        slot = self.now // EVIDENCE_SLOT_MS
        for kind, count in (("e", sent), ("p", verified)):
            await self.write_fields({f"{each}:{kind}": count for each in range(slot - 288, slot)})

    async def list_fields(self) -> set[str]:
        """Return the names of all totals of Germany."""
        partition = self.key_names.compute_shared_partition()
        key = self.key_names.traffic_key(partition, TrafficName("shop", "DE"))
        (names,) = await self.client.repeat_commands(key, [("HKEYS", key)])
        return {name.decode() for name in names}

    async def read_version(self) -> int:
        """Return the version of what was learned."""
        return (await self.get_shared_record("brake"))[0]


class BrakeProcess:
    """One process: its brake, the job that keeps it, and the sends and verifications of a back end."""

    def __init__(
        self,
        store: SharedStore,
        *,
        breakers: Sequence[int] = (),
        delay: float = 0.0,
        settings: BrakeSettings = SETTINGS,
        clock_error_ms: int = 0,
    ) -> None:
        self.store = store
        self.breakers = breakers
        tenants = {"shop": settings, "bank": settings}
        self.brake = Brake(tenants, DEFAULT_PRICE_TABLE, now=lambda: store.now + clock_error_ms)
        learner = TrafficLearner(
            TrafficTotals(store),
            tenants,
            DEFAULT_PRICE_TABLE.find_price,
            lambda _: self.breakers,
        )
        self.sync = BrakeSync(
            BrakeRecords(store),
            learner,
            self.brake,
            random=RandomSource(secrets.randbelow, os.urandom),
            draw_fraction=lambda: delay,
            versions={"config": "abc"},
        )

    async def send(self, index: int, tenant: str = "shop") -> SendDebt | None:
        """Send to one of many numbers in as many blocks; return its debt, or None if it was refused."""
        phone = build_phone(index)
        plan = self.brake.plan_send(PlannedSend(tenant=tenant, phone=phone))
        assert plan
        outcomes = await self._commit(phone, debts=(plan.number, plan.shared))
        if any(isinstance(outcome, OverDebt) for outcome in outcomes):
            return None
        return plan.build_debt(self.store.now, self.store.limit_key_id)

    async def verify(self, index: int, *debts: SendDebt, tenant: str = "shop") -> None:
        """Settle a challenge of a number that was charged these debts; none was of an exempt send."""
        phone = build_phone(index)
        plan = self.brake.plan_settlement(tenant, phone, None, debts)
        assert plan.shared
        (accepted,) = await self._commit(phone, settlement=(plan.number,))
        assert isinstance(accepted, Committed)
        settlement = replace(
            plan.shared,
            raises_allowance=accepted.raises_allowance,
            pays_exempt_sends=accepted.pays_exempt_sends,
        )
        await self._commit(phone, settlement=(None, settlement))

    async def _commit(
        self, phone: PhoneNumber, **values: tuple[Any, ...]
    ) -> list[CommitOutcome | Undone]:
        """Commit a field of the partition of a number, and then of the shared one."""
        ((field, parts),) = values.items()
        partitions = (
            self.store.get_number_partition(phone.canonical),
            self.store.key_names.compute_shared_partition(),
        )
        return await self.store.commit_together(
            [
                Commit(partition=partition, operation_id=secrets.token_hex(8), **{field: part})
                for partition, part in zip(partitions, parts, strict=False)
                if part is not None
            ]
        )


def build_phone(index: int) -> PhoneNumber:
    """Return one of a thousand German numbers, each in an operator block of its own."""
    return parse_number(f"+49151{index:03}12345")
