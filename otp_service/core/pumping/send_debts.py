"""What a send is charged, and in which scopes: the narrowest first.

The scopes of one partition are charged in one commit, as `core/charges.py` has it: those of the tenant
(address, tenant, its country), the range with its number, then the block with what all tenants share.
"""

from enum import StrEnum

import msgspec
from msgspec.structs import replace

from otp_service.core.pumping.allowance import NO_FIGURES, Figures, Terms
from otp_service.core.pumping.decision import DebtCharge
from otp_service.core.pumping.scopes import (
    DEFAULT_FLOORS,
    MESSAGE_UNITS,
    BrakeMode,
    DebtLimit,
    Floors,
    ScopeBucket,
)


class Measure(StrEnum):
    """How a send counts."""

    UNVERIFIED = "unverified"
    """A debt, until its challenge verifies."""
    VOLUME = "volume"
    """It cannot verify here, so its scopes are compared with their usual volume."""
    EXEMPT = "exempt"
    """To a known number: it counts in the budget of the day alone."""


class Outage(msgspec.Struct, frozen=True):
    """A time in which messages to a country did not arrive; `outages.py` has its evidence.

    While it lasts, `ended_at` is missing, or the instant at which it ends unless it is noticed again.
    """

    started_at: int
    ended_at: int | None = None
    country: str = ""
    """Empty for all."""
    tenant: str = ""
    """The tenant whose known numbers or whose route show it; empty for all."""


class BrakeSettings(msgspec.Struct, frozen=True):
    """What an operator may change: the mode of a tenant, and the parts of the formula."""

    day_budget: int
    """What all messages of a day may cost, in millionths of the currency."""
    mode: BrakeMode = BrakeMode.REFUSE
    floors: Floors = DEFAULT_FLOORS
    deviations: float = 4.0
    """z: how much is admitted as chance."""
    strained_parts: tuple[float, float] = (0.75, 0.5)
    """Of what a country of a tenant has beyond its expected debt, in an hour and in a day. Once it is
    used, ranges and blocks have smaller floors and `strained_deviations`, so that those of an attack do
    not use up the rest. It is larger for the hour: there are more hours in which chance reaches it."""
    strained_deviations: float = 2.0


class SendSubject(msgspec.Struct, frozen=True):
    """What the scopes of a send are named by."""

    tenant: str
    country: str
    range: str
    block: str
    """Empty if it is unknown, as in an archive of older events; so is `range`. It has no debt then."""
    client_address: str | None = None


class SendFigures(msgspec.Struct, frozen=True):
    """What is learned about the scopes of a send, by its measure."""

    country: Figures = NO_FIGURES
    is_strained: bool = False
    """Whether the country of the tenant is strained (`allowance.is_strained`). False during an outage
    and for an hour after it: what was sent before it was noticed is debt of honest people."""


def choose_measure(  # noqa: PLR0913  # all that decides it
    *,
    is_delivery: bool,
    is_exempt: bool,
    outages: tuple[Outage, ...],
    tenant: str,
    country: str,
    now: int,
) -> Measure:
    """Return how a send counts. In an outage nothing verifies, so it is no debt."""
    if is_exempt:
        return Measure.EXEMPT
    has_outage = any(
        outage.country in {"", country}
        and outage.tenant in {"", tenant}
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
    """Return the charges of one message, in the order in which scopes refuse; none if the brake is off.

    The budget of the day refuses in record mode too, and counts exempt sends.
    """
    if settings.mode is BrakeMode.OFF:
        return ()
    overall = DebtCharge(
        ScopeBucket(DebtLimit.SPEND_OVERALL),
        Terms((settings.day_budget, settings.day_budget)),
        price,
        is_always_charged=True,
    )
    if measure is Measure.EXEMPT:
        return (overall,)
    charges = _build_wide_charges(subject, price, measure, figures, settings)
    if measure is Measure.UNVERIFIED:
        charges = (
            *_build_number_charges(subject, figures, settings),
            *charges,
            *_build_address_charges(subject, figures, settings),
        )
    refuses = settings.mode is BrakeMode.REFUSE
    return (*(replace(charge, refuses=refuses) for charge in charges), overall)


def _build_number_charges(
    subject: SendSubject, figures: SendFigures, settings: BrakeSettings
) -> tuple[DebtCharge, ...]:
    """Return the charges of the range and the block, which every tenant shares.

    Their usual amounts are not stored: what has verified in the bucket itself counts, with the share of
    the country.
    """
    floors, is_strained = settings.floors, figures.is_strained
    range_sends = floors.strained_range_sends if is_strained else floors.range_sends
    block_sends = floors.strained_block_sends if is_strained else floors.block_sends
    deviations = settings.strained_deviations if is_strained else settings.deviations
    return tuple(
        DebtCharge(
            ScopeBucket(limit, subject=name),
            _build_narrow_terms(sends, figures, deviations),
            MESSAGE_UNITS,
        )
        for limit, name, sends in (
            (DebtLimit.UNVERIFIED_RANGE, subject.range, range_sends),
            (DebtLimit.UNVERIFIED_BLOCK, subject.block, block_sends),
        )
        if name
    )


def _build_wide_charges(
    subject: SendSubject,
    price: int,
    measure: Measure,
    figures: SendFigures,
    settings: BrakeSettings,
) -> tuple[DebtCharge, ...]:
    """Return the charges of the country of the tenant, and of its new countries if it is one."""
    is_volume = measure is Measure.VOLUME
    limit = DebtLimit.VOLUME_COUNTRY if is_volume else DebtLimit.UNVERIFIED_COUNTRY
    terms = Terms(settings.floors.country_money, figures.country, settings.deviations)
    country = DebtCharge(ScopeBucket(limit, subject.tenant, subject.country), terms, price)
    if figures.country.unverified_share:
        return (country,)
    limit = DebtLimit.VOLUME_NEW_COUNTRIES if is_volume else DebtLimit.UNVERIFIED_NEW_COUNTRIES
    terms = Terms(settings.floors.new_countries_money)
    return country, DebtCharge(ScopeBucket(limit, subject.tenant), terms, price)


def _build_address_charges(
    subject: SendSubject, figures: SendFigures, settings: BrakeSettings
) -> tuple[DebtCharge, ...]:
    """Return the charges of the client's address, in messages and in countries, if it was passed.

    An address has no share of its own: that of the country of this message stands for what usually
    stays unverified of its messages.
    """
    if subject.client_address is None:
        return ()
    floors, named = settings.floors, (subject.tenant, subject.client_address)
    terms = _build_narrow_terms(floors.address_sends, figures, settings.deviations)
    countries = Terms((floors.address_countries, floors.address_countries))
    return (
        DebtCharge(ScopeBucket(DebtLimit.UNVERIFIED_ADDRESS, *named), terms, MESSAGE_UNITS),
        DebtCharge(
            ScopeBucket(DebtLimit.UNVERIFIED_COUNTRIES, *named),
            countries,
            price=1,
            country=subject.country,
        ),
    )


def _build_narrow_terms(sends: tuple[int, int], figures: SendFigures, deviations: float) -> Terms:
    """Return the terms of a scope that counts messages."""
    hour, day = sends
    learned = Figures(figures.country.unverified_share, figures.country.margin)
    return Terms((hour * MESSAGE_UNITS, day * MESSAGE_UNITS), learned, deviations)
