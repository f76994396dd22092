"""The parts of commits, drawn from a small world, so that they meet in the same keys."""

from random import Random
from typing import Any, Final

from msgspec.structs import replace

from otp_service.core.challenge import Challenge, ChallengeSecret, build_challenge_id
from otp_service.core.commit import Commit, RecordName, Refund
from otp_service.core.do_not_send import DoNotSendReason, Recipient, SubmissionMark
from otp_service.core.events import (
    Attempted,
    Event,
    IssueDenied,
    SendStarted,
    Verified,
    VerifyDenied,
)
from otp_service.core.known_addresses import Account
from otp_service.core.limits import CONSECUTIVE_LIMITS, Bucket, Charge, Limit, Window
from otp_service.core.pumping.allowance import Figures, Terms
from otp_service.core.pumping.commits import (
    DebtCommit,
    DebtRepayment,
    DebtSettlement,
    KnownNumberName,
    RepaidSend,
    TrafficName,
)
from otp_service.core.pumping.decision import DebtCharge
from otp_service.core.pumping.known_number import ExemptTime
from otp_service.core.pumping.scopes import DebtLimit, DebtUnit, ScopeBucket
from otp_service.core.timestamps import HOUR_MS


TENANTS: Final = ("shop", "bank")
NUMBERS: Final = ("+447400123456", "+447400123457")
ACCOUNTS: Final = tuple(Account(tenant, "u-81") for tenant in TENANTS)
PRICES: Final = (41_357, 55_555)
PARTITIONS: Final = (7, 7, 7, 8)

_LIMITS: Final = (
    Limit.COOLDOWN,
    Limit.SENDS_NUMBER,
    Limit.FAILURES_ACCOUNT,
    Limit.SENDS_TENANT,
    Limit.SENDS_ADDRESS,
    Limit.SENDS_COUNTRY,
    Limit.CONSECUTIVE_FAILURES,
    Limit.CONSECUTIVE_FAILURES_ACCOUNT,
)
_WINDOWS: Final = (
    (Window(3, 30),),
    (Window(3, 30), Window(5, 100)),
    (Window(3, 30), Window(7, 100)),
    (Window(6, 60), Window(7, 3600), Window(9, 86_400)),
)
"""An operator may change them. Sevenths make GCRA compute with fractions."""


def draw_charges(random: Random, most: int = 4) -> tuple[Charge, ...]:
    """Return charges of buckets of each algorithm, sometimes two of one bucket."""
    return tuple(_draw_charge(random) for _ in range(random.randint(1, most)))


def _draw_charge(random: Random) -> Charge:
    limit = random.choice(_LIMITS)
    bucket = Bucket(limit, "shop", random.choice((*NUMBERS[:1] * 4, NUMBERS[1])))
    is_forced = random.random() < 0.15
    if limit in CONSECUTIVE_LIMITS:
        return Charge(
            bucket,
            (Window(random.choice((12, 100)), 90 * 86_400),),
            random.choice((0, 0, 1, 1, 9)),
            is_forced,
            random.choice((0, 0, 4, 9)),
            random.random() < 0.3,
        )
    cost = random.choice((0, 1, 1, 1, 2, 3))
    return Charge(bucket, random.choice(_WINDOWS), cost, is_forced)


def draw_scopes(random: Random, now: int) -> tuple[DebtCharge, ...]:
    """Return charges of some scopes of the brake, each with room for few sends."""
    price = random.choice(PRICES)
    limits = [limit for limit in DebtLimit if random.random() < 0.45]
    return tuple(
        _draw_countries(random, limit, now)
        if limit.unit is DebtUnit.COUNTRIES
        else _draw_scope(random, limit, price, now)
        for limit in limits
    )


def _draw_countries(random: Random, limit: DebtLimit, now: int) -> DebtCharge:
    """Return the charge of a country of an address, which may have few."""
    floor = random.randint(1, 3)
    charge = _draw_scope(random, limit, 1, now)
    country = random.choice(("GB", "FR", "DE", "IT"))
    return replace(charge, terms=Terms((floor, floor)), country=country)


def _draw_scope(random: Random, limit: DebtLimit, price: int, now: int) -> DebtCharge:
    sends = random.choice((0, 1, 2, 9, 9))
    figures = Figures(
        random.choice((0.0, 0.37, 1.2)),
        random.choice((0.0, 0.15, 0.6)),
        random.choice(((0, 0), (price, 2 * price))),
    )
    terms = Terms((sends * price, (sends + 1) * price), figures, random.choice((0, 1.5)))
    is_overall = limit is DebtLimit.SPEND_OVERALL
    return DebtCharge(
        ScopeBucket(limit, "shop", random.choice(("GB", "GB", "GB", "FR"))),
        terms,
        price,
        refuses=random.random() < 0.55,
        is_always_charged=is_overall,
        open_until=random.choice((0,) * 8 + (now - 1, now + random.randint(1, 3 * HOUR_MS))),
        closed_until=random.choice((0,) * 7 + (now - 1, now + random.randint(1, 3 * HOUR_MS))),
        recorded_from=random.choice((0,) * 9 + (now + random.randint(1, 3 * HOUR_MS),)),
    )


def draw_traffic(random: Random) -> TrafficName:
    return TrafficName(random.choice(TENANTS), random.choice(("GB", "FR")))


def draw_known_number(random: Random) -> KnownNumberName | None:
    known = KnownNumberName(random.choice(TENANTS), random.choice(NUMBERS))
    return known if random.random() < 0.6 else None


def draw_debts(random: Random, now: int) -> DebtCommit:
    """Return the debts of a send, as it is in one of its two partitions."""
    cause = random.choice(("", "", "", "", "exempt", "over"))
    return DebtCommit(
        charges=draw_scopes(random, now),
        known_number=draw_known_number(random) if not cause else None,
        is_assumed_known=random.random() < 0.2,
        is_uncharged=cause != "",
        is_exempt=cause == "exempt",
        exempt_time=_draw_exempt_time(random, now),
        traffic=draw_traffic(random) if random.random() < 0.7 else None,
    )


def _draw_exempt_time(random: Random, now: int) -> ExemptTime | None:
    """Return what an earlier commit has found: it begins or ends soon, or was not found."""
    starts_at = random.choice((0, now + random.randint(1, 3 * HOUR_MS)))
    ends_at = random.choice((None, now + random.randint(1, 9 * HOUR_MS)))
    return ExemptTime(starts_at, ends_at) if random.random() < 0.3 else None


def draw_settlement(random: Random, debts: DebtCommit, charged_at: int) -> DebtSettlement:
    """Return what a challenge with one or two sends repays, one of them at an instant."""
    instants = (charged_at, charged_at + random.choice((1, HOUR_MS, -HOUR_MS)))
    sent_at = instants[: random.randint(0, 2)]
    repaid = [one for one in debts.charges if one.bucket.limit.is_repaid]
    return DebtSettlement(
        repayments=tuple(
            DebtRepayment(
                one.bucket, tuple(RepaidSend(at, one.price) for at in sent_at), one.country
            )
            for one in repaid
        ),
        known_number=draw_known_number(random),
        raises_allowance=random.random() < 0.5,
        pays_exempt_sends=random.random() < 0.5,
        traffic=debts.traffic,
    )


def draw_denial(random: Random, event_id: str) -> Event:
    """Return the event of a refusal; few names, so that they fold."""
    kind = random.choice((IssueDenied, IssueDenied, VerifyDenied))
    return kind(
        id=event_id,
        tenant=random.choice(TENANTS),
        number=random.choice(("1:aa", '1:b"b/\\é')),
        reason=random.choice(("expired", "country")),
        client_ip=random.choice((None, "203.0.113.1", "203.0.113.2", "2001:db8::1")),
    )


def draw_events(random: Random, event_id: str, count: int) -> tuple[Event, ...]:
    kinds = (Attempted, SendStarted, Verified)
    return tuple(
        random.choice(kinds)(id=f"{event_id}-{i}", tenant=random.choice(TENANTS), request="r" * i)
        for i in range(count)
    )


def draw_recipient(random: Random) -> Recipient:
    reason = DoNotSendReason.OPTED_OUT if random.random() < 0.1 else None
    return Recipient(random.choice(NUMBERS), random.choice(TENANTS), reason)


def draw_marks(random: Random, now: int) -> tuple[SubmissionMark, ...]:
    """Return marks, some of which have ended and are deleted."""
    ends = (now - 1, now, now + 1, now + HOUR_MS)
    return tuple(
        SubmissionMark(provider, random.choice(NUMBERS), random.choice(ends))
        for provider in ("", "twilio")
    )


def draw_record_name(random: Random) -> RecordName:
    kind: Any = random.choice(("authenticator", "recovery", "answer"))
    return RecordName(kind, random.choice(TENANTS), random.choice(("a", "b")))


def build_challenge(random: Random, partition: int, now: int) -> tuple[Challenge, ChallengeSecret]:
    """Return a challenge that was not stored yet, and its secret."""
    challenge = Challenge(
        random.choice(TENANTS), build_challenge_id(partition, random.randbytes(16)), 1, "login", None,
        "+44…56", "1:00", "GB", now, now + 300_000, now + 300_000, now + 30_000, 5, 2,
    )  # fmt: skip
    return challenge, ChallengeSecret(random.choice(NUMBERS), b"salt", ())


def draw_refunds(random: Random, commit: Commit) -> tuple[Refund, ...]:
    """Return refunds of charges, one of which takes more than was charged, as a success does."""
    chosen = [one for one in commit.charges if one.cost and random.random() < 0.8]
    if chosen and random.random() < 0.2:
        chosen[0] = replace(chosen[0], cost=chosen[0].cost + 1)
    return tuple(Refund(one, commit.operation_id) for one in chosen)
