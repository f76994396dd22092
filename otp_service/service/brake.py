"""The brake on SMS pumping as one process knows it: what each send is charged, and what a verify repays.

The decisions are those of `core/pumping/`, and the store takes them with the code of its script. Here is
what they are made with: the settings, the prices, what was learned, and what operators have opened and
closed. A job replaces the last two every few seconds.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from otp_service.core.commit import Committed
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.pumping.commits import (
    DebtCommit,
    DebtRepayment,
    DebtSettlement,
    KnownNumberName,
    SendDebt,
    TrafficName,
    halve_charge,
)
from otp_service.core.pumping.decision import ALWAYS_OPEN, DebtCharge
from otp_service.core.pumping.learned_traffic import LearnedTraffic
from otp_service.core.pumping.overrides import Overrides
from otp_service.core.pumping.prices import PriceTable
from otp_service.core.pumping.scopes import (
    BrakeMode,
    DebtLimit,
    DebtUnit,
    ScopeBucket,
    derive_block,
)
from otp_service.core.pumping.send_debts import (
    BrakeSettings,
    Measure,
    SendFigures,
    SendSubject,
    build_debt_charges,
    choose_measure,
)


class PlannedSend(msgspec.Struct, frozen=True, kw_only=True):
    """What the brake is asked about: one message of a tenant to a number."""

    tenant: str
    phone: PhoneNumber
    client_address: str | None = None
    """As limits count it."""
    is_delivery: bool = False
    is_assumed_known: bool = False
    """Whether a trusted tenant says that it knows the number."""
    has_passed_bot_check: bool = False


class DebtPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The debts of one send. An exempt one is charged less: the record of its number decides it."""

    number: DebtCommit | None
    """None of a delivery, which has neither a range nor an exemption."""
    shared: DebtCommit
    price: int
    """Of the message."""
    is_halved: bool
    """Whether a bot check has halved what is unverified."""
    measure: Measure
    is_new_country: bool

    @property
    def range_bucket(self) -> ScopeBucket | None:
        """The bucket that the commit to the number charges."""
        return self.number.charges[0].bucket if self.number and self.number.charges else None

    def build_debt(self, charged_at: int, limit_key_id: str) -> SendDebt | None:
        """Return what a verification repays of this send; None of a volume."""
        if self.measure is not Measure.UNVERIFIED:
            return None
        price = halve_charge(self.price) if self.is_halved else self.price
        return SendDebt(charged_at, price, limit_key_id, self.is_new_country, self.is_halved)

    def build_extra_commit(self, count: int) -> DebtCommit:
        """Return the charge of `count` more messages that were already sent, whatever is left."""
        charges = (
            replace(charge, price=count * charge.price, open_until=ALWAYS_OPEN)
            for charge in self.shared.charges
            if charge.is_always_charged
        )
        return DebtCommit(charges=tuple(charges))

    def without_repaid(self) -> "DebtPlan":
        """Return what is refunded of a send that a verification has repaid: the budget of the day.

        The others cost nothing, because a refund names all charges of its commit.
        """
        charges = (
            charge if charge.is_always_charged else replace(charge, price=0)
            for charge in self.shared.charges
        )
        return replace(self, number=None, shared=DebtCommit(charges=tuple(charges)))

    def without_range(self) -> "DebtPlan":
        """Return what is refunded of a send whose range is repaid: of that nothing.

        The refund still names the range, at no price. So its charge is marked as reversed, and a later try
        of the refund, which may not know of the repayment, takes nothing from others.
        """
        assert self.number
        free = tuple(replace(charge, price=0) for charge in self.number.charges)
        return replace(self, number=replace(self.number, charges=free))

    def end_exemption(self) -> "DebtPlan":
        """Return the debts of the send as one to an unknown number."""
        number = self.number and replace(self.number, known_number=None, is_assumed_known=False)
        return replace(self, number=number)


class SettlementPlan(msgspec.Struct, frozen=True):
    """The repayments of a challenge that has verified, in the partition of its number and in the shared one."""

    number: DebtSettlement | None = None
    shared: DebtSettlement | None = None

    def build_shared(self, accepted: Committed) -> DebtSettlement | None:
        """Return the shared part after the commit with the number's part; None if it changes nothing."""
        if self.shared is None or not (self.shared.repayments or accepted.pays_exempt_sends):
            return None
        return replace(
            self.shared,
            raises_allowance=accepted.raises_allowance,
            pays_exempt_sends=accepted.pays_exempt_sends,
        )


class Brake:
    """Plans the debts of sends and their repayment."""

    def __init__(
        self,
        settings: Mapping[str, BrakeSettings],
        prices: PriceTable,
        *,
        now: Callable[[], int],
        find_provider: Callable[[PhoneNumber], str | None] = lambda _: None,
    ) -> None:
        """Plan by the settings of each tenant; a tenant without any has no brake.

        `now` returns milliseconds since 1970 by the clock of this process, and `find_provider` the provider that a message to a
        number is sent through first.
        """
        self.settings = settings
        self.prices = prices
        self.learned = LearnedTraffic()
        """Empty until the record is read: the floors hold."""
        self.overrides = Overrides()
        self._find_provider = find_provider
        self._now = now
        self._lag_ms = 0

    def follow_clock(self, now: int) -> None:
        """Count from this instant of Redis's clock, which is that of overrides and outages."""
        self._lag_ms = now - self._now()

    def plan_send(self, send: PlannedSend) -> DebtPlan | None:
        """Return the debts of a send; None where the brake is off, and of a fictitious number."""
        settings = self._get_settings(send.tenant, send.phone)
        if settings is None:
            return None
        country = send.phone.country
        measure = choose_measure(
            is_delivery=send.is_delivery,
            is_exempt=False,
            outages=self.learned.outages,
            tenant=send.tenant,
            country=country,
            now=self._now() + self._lag_ms,
        )
        price = self.prices.find_price(country, self._find_provider(send.phone))
        charges = self._build_charges(send, measure, price, settings)
        if send.has_passed_bot_check:
            charges = tuple(map(_halve, charges))
        limits = {charge.bucket.limit for charge in charges}
        return DebtPlan(
            number=_build_number_commit(send, charges, price),
            shared=DebtCommit(
                charges=tuple(charge for charge in charges if not _is_of_number(charge)),
                price=price,
                traffic=TrafficName(send.tenant, country),
            ),
            price=price,
            is_halved=send.has_passed_bot_check,
            measure=measure,
            is_new_country=DebtLimit.UNVERIFIED_NEW_COUNTRIES in limits,
        )

    def plan_settlement(
        self,
        tenant: str,
        phone: PhoneNumber,
        client_address: str | None,
        debts: Sequence[SendDebt],
    ) -> SettlementPlan:
        """Return what the verification of a challenge repays; its number is known from now on."""
        known = None
        if self._get_settings(tenant, phone) is not None:
            known = KnownNumberName(tenant, phone.canonical)
        subject = _build_subject(tenant, phone, client_address)
        range_bucket = ScopeBucket(DebtLimit.UNVERIFIED_RANGE, subject=subject.range)
        number, shared = _repay([range_bucket], debts), _repay_shared(subject, debts)
        if known is None and not debts:
            return SettlementPlan()
        return SettlementPlan(
            DebtSettlement(repayments=number, known_number=known),
            DebtSettlement(repayments=shared, traffic=TrafficName(tenant, phone.country)),
        )

    def _get_settings(self, tenant: str, phone: PhoneNumber) -> BrakeSettings | None:
        """Return the settings of sends to a number; None if nothing is charged."""
        settings = self.settings.get(tenant)
        is_off = settings is None or settings.mode is BrakeMode.OFF
        return None if is_off or phone.is_fictitious else settings

    def _build_charges(
        self, send: PlannedSend, measure: Measure, price: int, settings: BrakeSettings
    ) -> tuple[DebtCharge, ...]:
        """Return the charges of an unknown number, with what operators have opened and closed."""
        figures = self.learned.get(send.tenant, send.phone.country)
        is_volume = measure is Measure.VOLUME
        charges = build_debt_charges(
            _build_subject(send.tenant, send.phone, send.client_address),
            price,
            measure,
            SendFigures(figures.volume if is_volume else figures.unverified, figures.is_strained),
            settings,
        )
        return self.overrides.apply(charges, self._now() + self._lag_ms)


def _build_subject(tenant: str, phone: PhoneNumber, client_address: str | None) -> SendSubject:
    return SendSubject(
        tenant, phone.country, phone.prefix, derive_block(phone.canonical), client_address
    )


def _is_of_number(charge: DebtCharge) -> bool:
    """Whether the scope is in the partition of the number."""
    return charge.bucket.limit is DebtLimit.UNVERIFIED_RANGE


def _halve(charge: DebtCharge) -> DebtCharge:
    """Return the charge after a bot check that has passed: it halves no country."""
    if charge.is_always_charged or charge.bucket.limit.unit is DebtUnit.COUNTRIES:
        return charge
    return replace(charge, price=halve_charge(charge.price))


def _build_number_commit(
    send: PlannedSend, charges: tuple[DebtCharge, ...], price: int
) -> DebtCommit | None:
    """Return the debts of the partition of the number.

    A delivery cannot verify, so it would use up the exemption of its number.
    """
    if send.is_delivery:
        return None
    return DebtCommit(
        charges=tuple(charge for charge in charges if _is_of_number(charge)),
        price=price,
        known_number=KnownNumberName(send.tenant, send.phone.canonical),
        is_assumed_known=send.is_assumed_known,
        name=TrafficName(send.tenant, send.phone.country),
    )


def _repay_shared(subject: SendSubject, debts: Sequence[SendDebt]) -> tuple[DebtRepayment, ...]:
    """Return the repayments of the scopes that are not the range."""
    new_countries = [debt for debt in debts if debt.is_new_country]
    buckets = [
        ScopeBucket(DebtLimit.UNVERIFIED_BLOCK, subject=subject.block),
        ScopeBucket(DebtLimit.UNVERIFIED_COUNTRY, subject.tenant, subject.country),
    ]
    countries = []
    if subject.client_address is not None:
        address = subject.tenant, subject.client_address
        buckets.append(ScopeBucket(DebtLimit.UNVERIFIED_ADDRESS, *address))
        countries.append(ScopeBucket(DebtLimit.UNVERIFIED_COUNTRIES, *address))
    new = [ScopeBucket(DebtLimit.UNVERIFIED_NEW_COUNTRIES, subject.tenant)]
    return (
        *_repay(buckets, debts),
        *_repay(countries, debts, subject.country),
        *_repay(new, new_countries),
    )


def _repay(
    buckets: Sequence[ScopeBucket], debts: Sequence[SendDebt], country: str | None = None
) -> tuple[DebtRepayment, ...]:
    return tuple(DebtRepayment.from_debts(one, debts, country) for one in buckets if debts)
