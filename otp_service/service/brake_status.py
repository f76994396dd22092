"""What the brake knows and how full its scopes are: `otp-service pumping status`. It changes nothing.

The allowances are those that a send would meet now: the store inspects the charges that a send has
(`Store.inspect`), with what this process knows of figures, prices and overrides.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from otp_service.core.commit import Commit, DebtState
from otp_service.core.limits import Bucket, Limit
from otp_service.core.ports import Store
from otp_service.core.pumping.commits import DebtCommit
from otp_service.core.pumping.decision import DebtCharge
from otp_service.core.pumping.learned_traffic import ScopeFigures
from otp_service.core.pumping.overrides import find_scope
from otp_service.core.pumping.scopes import RANGE_DIGITS, BrakeMode, DebtLimit, ScopeBucket
from otp_service.core.pumping.send_debts import (
    Measure,
    SendFigures,
    SendSubject,
    build_debt_charges,
    choose_measure,
)
from otp_service.service.brake import Brake


MAX_INSPECTED_CHARGES: Final = 100
"""In one run of the script, which keeps all others waiting."""

UNKNOWN_COUNTRY: Final = ""
"""Nothing is learned about it, and no table has its price."""

SHARED_BUCKET: Final = Bucket(Limit.SENDS_OVERALL)
"""It is in the partition of every scope but ranges."""

TENANT_LIMITS: Final = (
    DebtLimit.UNVERIFIED_NEW_COUNTRIES,
    DebtLimit.VOLUME_NEW_COUNTRIES,
    DebtLimit.SPEND_OVERALL,
)


class CountryStatus(msgspec.Struct, frozen=True):
    """A country of a tenant."""

    country: str
    price: int
    """Of a message, in millionths of the currency."""
    figures: ScopeFigures
    has_outage: bool
    """Whether its messages count as a volume now."""
    unverified: DebtState
    volume: DebtState


class TenantStatus(msgspec.Struct, frozen=True):
    """A tenant whose brake is on."""

    tenant: str
    mode: BrakeMode
    countries: tuple[CountryStatus, ...]
    new_countries: DebtState
    new_countries_volume: DebtState


class BrakeStatus(msgspec.Struct, frozen=True):
    """The brake of some tenants."""

    tenants: tuple[TenantStatus, ...]
    day_budget: DebtState | None
    """None if the brake of all tenants is off."""


class ScopeStatus(msgspec.Struct, frozen=True):
    """One scope as a send of this tenant would meet it."""

    tenant: str
    mode: BrakeMode
    state: DebtState


class BrakeInspector:
    """Reads the state of scopes. Methods raise StoreUnavailable.

    `find_price` returns the price of a message to a country, `now` milliseconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        brake: Brake,
        *,
        find_price: Callable[[str], int],
        now: Callable[[], int],
    ) -> None:
        self._store = store
        self._brake = brake
        self._find_price = find_price
        self._now = now

    async def inspect_tenants(self, countries: Mapping[str, Sequence[str]]) -> BrakeStatus:
        """Return the state of these countries of each tenant; tenants whose brake is off are left out."""
        active = [name for name in countries if self._get_mode(name) is not BrakeMode.OFF]
        charges = [
            charge
            for tenant in active
            for charge in (
                *self._build_tenant_charges(tenant),
                *self._build_country_charges(tenant, countries[tenant]),
            )
        ]
        states = await self._inspect(charges, self._store.get_bucket_partition(SHARED_BUCKET))
        statuses = (self._build_tenant_status(name, countries[name], states) for name in active)
        return BrakeStatus(tuple(statuses), states.get(ScopeBucket(DebtLimit.SPEND_OVERALL)))

    async def inspect_scope(
        self, bucket: ScopeBucket, tenants: Sequence[str], country: str
    ) -> list[ScopeStatus]:
        """Return the state of a scope for each of these tenants whose brake is on.

        Of an address there are two, and of countries the volume as well, if there is any. Ranges and
        blocks count all tenants, and each tenant has its own allowance in them. `country` is that of
        their numbers; without one only the floors are known, and the countries of an address are those
        that a message to one more would meet.
        """
        charges = [
            (tenant, charge)
            for tenant in tenants
            for charge in self._list_scope_charges(tenant, country, bucket)
        ]
        partition = self._get_partition(bucket)
        inspections = await self._store.inspect(
            [self._build_commit(partition, [charge]) for _, charge in charges]
        )
        return [
            ScopeStatus(tenant, self._get_mode(tenant), *inspection.debts)
            for (tenant, charge), inspection in zip(charges, inspections, strict=True)
            if not charge.bucket.limit.is_volume or any(inspection.debts[0].unverified)
        ]

    def _get_mode(self, tenant: str) -> BrakeMode:
        return self._brake.settings[tenant].mode

    def _get_partition(self, bucket: ScopeBucket) -> int:
        """Return the partition of a scope: a range has that of its numbers."""
        if bucket.limit is DebtLimit.UNVERIFIED_RANGE:
            return self._store.get_number_partition(bucket.subject + "0" * RANGE_DIGITS)
        return self._store.get_bucket_partition(SHARED_BUCKET)

    def _list_scope_charges(
        self, tenant: str, country: str, scope: ScopeBucket
    ) -> Iterator[DebtCharge]:
        """Yield what an issue of a tenant, and then a delivery, is charged in a scope."""
        subject = SendSubject(tenant, country, scope.subject, scope.subject, scope.subject)
        learned = self._brake.learned.get(tenant, country)
        unverified = SendFigures(learned.unverified, learned.is_strained)
        charges = self._build_charges(tenant, subject, unverified)
        yield from (charge for charge in charges if find_scope(charge.bucket) == scope)
        charges = self._build_charges(tenant, subject, SendFigures(learned.volume), Measure.VOLUME)
        yield from (
            charge
            for charge in charges
            if charge.bucket.limit.is_volume and find_scope(charge.bucket) == scope
        )

    def _build_charges(
        self,
        tenant: str,
        subject: SendSubject,
        figures: SendFigures,
        measure: Measure = Measure.UNVERIFIED,
    ) -> tuple[DebtCharge, ...]:
        """Return the charges of a send of a tenant; none if its brake is off."""
        price, settings = self._find_price(subject.country), self._brake.settings[tenant]
        charges = build_debt_charges(subject, price, measure, figures, settings)
        return self._brake.overrides.apply(charges, self._now())

    def _build_country_charges(self, tenant: str, countries: Sequence[str]) -> Iterator[DebtCharge]:
        """Yield the charges of each country, unverified and by volume."""
        for country in countries:
            subject = SendSubject(tenant, country, "", "")
            learned = self._brake.learned.get(tenant, country)
            for measure, figures in (
                (Measure.UNVERIFIED, learned.unverified),
                (Measure.VOLUME, learned.volume),
            ):
                charges = self._build_charges(tenant, subject, SendFigures(figures), measure)
                yield from (charge for charge in charges if charge.bucket.subject == country)

    def _build_tenant_charges(self, tenant: str) -> Iterator[DebtCharge]:
        """Yield the charges of all countries without history together, and of the budget of the day."""
        subject = SendSubject(tenant, UNKNOWN_COUNTRY, "", "")
        for measure in (Measure.UNVERIFIED, Measure.VOLUME):
            charges = self._build_charges(tenant, subject, SendFigures(), measure)
            yield from (charge for charge in charges if charge.bucket.limit in TENANT_LIMITS)

    async def _inspect(
        self, charges: Sequence[DebtCharge], partition: int
    ) -> dict[ScopeBucket, DebtState]:
        states: dict[ScopeBucket, DebtState] = {}
        for start in range(0, len(charges), MAX_INSPECTED_CHARGES):
            batch = charges[start : start + MAX_INSPECTED_CHARGES]
            (inspection,) = await self._store.inspect([self._build_commit(partition, batch)])
            states |= {state.charge.bucket: state for state in inspection.debts}
        return states

    @staticmethod
    def _build_commit(partition: int, charges: Sequence[DebtCharge]) -> Commit:
        return Commit(
            partition=partition, operation_id="inspect", debts=DebtCommit(charges=tuple(charges))
        )

    def _build_tenant_status(
        self, tenant: str, countries: Sequence[str], states: Mapping[ScopeBucket, DebtState]
    ) -> TenantStatus:
        def find_state(limit: DebtLimit, country: str = "") -> DebtState:
            return states[ScopeBucket(limit, tenant, country)]

        return TenantStatus(
            tenant=tenant,
            mode=self._get_mode(tenant),
            countries=tuple(
                CountryStatus(
                    country,
                    self._find_price(country),
                    self._brake.learned.get(tenant, country),
                    self._has_outage(tenant, country),
                    find_state(DebtLimit.UNVERIFIED_COUNTRY, country),
                    find_state(DebtLimit.VOLUME_COUNTRY, country),
                )
                for country in countries
            ),
            new_countries=find_state(DebtLimit.UNVERIFIED_NEW_COUNTRIES),
            new_countries_volume=find_state(DebtLimit.VOLUME_NEW_COUNTRIES),
        )

    def _has_outage(self, tenant: str, country: str) -> bool:
        measure = choose_measure(
            is_delivery=False,
            is_exempt=False,
            outages=self._brake.learned.outages,
            tenant=tenant,
            country=country,
            now=self._now(),
        )
        return measure is Measure.VOLUME
