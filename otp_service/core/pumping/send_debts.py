"""What a send is charged, and in which scopes: the narrowest first.

The scopes of one partition are charged in one commit, as `core/charges.py` has it: those of the tenant
(address, tenant, its country), the range with its number, then the block with what all tenants share.
"""

import math
from enum import StrEnum

import msgspec

from otp_service.core.pumping.allowance import NO_FIGURES, Figures, Terms
from otp_service.core.pumping.decision import DebtCharge
from otp_service.core.pumping.scopes import DEFAULT_FLOORS, DebtLimit, Floors, ScopeBucket


class Measure(StrEnum):
    """How a send counts."""

    UNVERIFIED = "unverified"
    """A debt, until its challenge verifies."""
    VOLUME = "volume"
    """It cannot verify here, so its scopes are compared with their usual volume."""
    EXEMPT = "exempt"
    """To a known number: it counts in the budget of the day alone."""


class Outage(msgspec.Struct, frozen=True):
    """A time in which messages to a country did not arrive; `ended_at` is missing while it lasts.

    The evidence must be what an attacker cannot make: breakers of providers, and receipts of numbers
    that have verified. Numbers of an attacker send no receipts as they please.
    """

    started_at: int
    ended_at: int | None = None
    country: str = ""
    """Empty for all."""


class BrakeSettings(msgspec.Struct, frozen=True):
    """The parts of the formula that an operator may change."""

    day_budget: int
    """What all messages of a day may cost, in millionths of the currency."""
    floors: Floors = DEFAULT_FLOORS
    deviations: float = 4.0
    """z: how much is admitted as chance."""
    strained_part: float = 0.5
    """Of what a country of a tenant has beyond its expected debt: once it is used, ranges and blocks
    have `strained_floor_part` of their floors."""
    strained_floor_part: float = 0.25


class SendSubject(msgspec.Struct, frozen=True):
    """What the scopes of a send are named by."""

    tenant: str
    country: str
    range: str
    block: str
    client_address: str | None = None


class SendFigures(msgspec.Struct, frozen=True):
    """What is learned about the scopes of a send, by its measure."""

    country: Figures = NO_FIGURES
    tenant: Figures = NO_FIGURES
    is_strained: bool = False
    """Whether the country of the tenant is strained (`allowance.is_strained`)."""


def choose_measure(
    *, is_delivery: bool, is_exempt: bool, outages: tuple[Outage, ...], country: str, now: int
) -> Measure:
    """Return how a send counts. In an outage nothing verifies, so it is no debt."""
    if is_exempt:
        return Measure.EXEMPT
    has_outage = any(
        outage.country in {"", country}
        and outage.started_at <= now
        and (outage.ended_at is None or now < outage.ended_at)
        for outage in outages
    )
    return Measure.VOLUME if is_delivery or has_outage else Measure.UNVERIFIED


def build_debt_charges(
    subject: SendSubject,
    price: int,
    measure: Measure,
    figures: SendFigures,
    settings: BrakeSettings,
) -> tuple[DebtCharge, ...]:
    """Return the charges of one message, in the order in which scopes refuse."""
    overall = DebtCharge(
        ScopeBucket(DebtLimit.SPEND_OVERALL),
        Terms((settings.day_budget, settings.day_budget)),
        price,
    )
    if measure is Measure.EXEMPT:
        return (overall,)
    wide = _build_wide_charges(subject, price, measure, figures, settings)
    if measure is Measure.VOLUME:
        return (*wide, overall)
    range_and_block = _build_number_charges(subject, price, figures, settings)
    return (
        *range_and_block,
        *wide,
        *_build_address_charges(subject, price, figures, settings),
        overall,
    )


def _build_number_charges(
    subject: SendSubject, price: int, figures: SendFigures, settings: BrakeSettings
) -> tuple[DebtCharge, ...]:
    """Return the charges of the range and the block, which every tenant shares.

    Their usual amounts are not stored: what has verified in the bucket itself counts, with the share of
    the country.
    """
    part = settings.strained_floor_part if figures.is_strained else 1.0
    floors = settings.floors
    return tuple(
        DebtCharge(
            ScopeBucket(limit, subject=name),
            _build_narrow_terms(sends, part * price, figures, settings),
            price,
        )
        for limit, name, sends in (
            (DebtLimit.UNVERIFIED_RANGE, subject.range, floors.range_sends),
            (DebtLimit.UNVERIFIED_BLOCK, subject.block, floors.block_sends),
        )
    )


def _build_wide_charges(
    subject: SendSubject,
    price: int,
    measure: Measure,
    figures: SendFigures,
    settings: BrakeSettings,
) -> tuple[DebtCharge, ...]:
    """Return the charges of the country of the tenant, and of the tenant."""
    is_volume = measure is Measure.VOLUME
    country = DebtLimit.VOLUME_COUNTRY if is_volume else DebtLimit.UNVERIFIED_COUNTRY
    tenant = DebtLimit.VOLUME_TENANT if is_volume else DebtLimit.UNVERIFIED_TENANT
    floors, deviations = settings.floors, settings.deviations
    return (
        DebtCharge(
            ScopeBucket(country, subject.tenant, subject.country),
            Terms(floors.country_money, figures.country, deviations),
            price,
        ),
        DebtCharge(
            ScopeBucket(tenant, subject.tenant),
            Terms(floors.tenant_money, figures.tenant, deviations),
            price,
        ),
    )


def _build_address_charges(
    subject: SendSubject, price: int, figures: SendFigures, settings: BrakeSettings
) -> tuple[DebtCharge, ...]:
    """Return the charge of the client's address, if the caller has passed one."""
    if subject.client_address is None:
        return ()
    bucket = ScopeBucket(DebtLimit.UNVERIFIED_ADDRESS, subject.tenant, subject.client_address)
    terms = _build_narrow_terms(settings.floors.address_sends, price, figures, settings)
    return (DebtCharge(bucket, terms, price),)


def _build_narrow_terms(
    sends: tuple[int, int], scale: float, figures: SendFigures, settings: BrakeSettings
) -> Terms:
    learned = Figures(figures.country.unverified_share, figures.country.margin)
    return Terms(tuple(math.floor(count * scale) for count in sends), learned, settings.deviations)
