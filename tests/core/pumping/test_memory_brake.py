"""The brake in memory: what it decides, repays, takes back and learns, as the service does."""

from msgspec.structs import replace

from otp_service.core.pumping.debt import EMPTY_DEBT, settle_debt
from otp_service.core.pumping.memory_brake import HISTORY_HOURS, BrakeFormula, MemoryBrake
from otp_service.core.pumping.scopes import MESSAGE_UNITS, BrakeMode, DebtLimit, Floors
from otp_service.core.pumping.send_debts import BrakeSettings, Measure, Outage, SendSubject
from otp_service.core.pumping.usual_traffic import HourTotals
from otp_service.core.timestamps import DAY_MS, HOUR_MS, MINUTE_MS


NOW = 20_000 * DAY_MS
PRICE = 75_000
SUBJECT = SendSubject("shop", "DE", "range", "block", "192.0.2.1")
SETTINGS = BrakeSettings(10**12, floors=Floors(range_sends=(2, 4)))


def create_brake(settings=SETTINGS):
    brake = MemoryBrake(BrakeFormula(settings), lambda _: PRICE)
    brake.work(NOW)
    return brake


def send(brake, now, subject=SUBJECT, number="", **options):
    return brake.send(subject, number, PRICE, now, **options)


def list_amounts(brake, now):
    """Return what is unverified and verified in each bucket of money."""
    debts = [settle_debt(debt, now) for debt in brake.debts.values() if not debt.countries]
    windows = [window for debt in debts for window in debt.windows]
    return {(sum(window.unverified), sum(window.verified)) for window in windows}


def test_a_range_is_full_after_its_floor_and_empty_when_its_sends_have_verified():
    brake = create_brake()
    sent = [send(brake, NOW)[1] for _ in range(2)]

    refused, nothing = send(brake, NOW + MINUTE_MS)
    assert (DebtLimit.UNVERIFIED_RANGE, None) == (refused.refusal.bucket.limit, nothing)

    brake.verify(sent, "shop +49", NOW + MINUTE_MS)
    assert send(brake, NOW + MINUTE_MS)[0].is_sent


def test_record_mode_sends_what_is_over_and_charges_it_to_the_budget_of_the_day_alone():
    brake = create_brake(replace(SETTINGS, mode=BrakeMode.RECORD))
    for _ in range(2):
        send(brake, NOW)
    before = dict(brake.debts)

    decision, sent = send(brake, NOW)

    assert decision.is_sent
    assert sent.is_over
    assert [DebtLimit.SPEND_OVERALL] == [charge.bucket.limit for charge in sent.charges]
    changed = [bucket.limit for bucket, debt in brake.debts.items() if before[bucket] != debt]
    assert [DebtLimit.SPEND_OVERALL] == changed

    brake.work(NOW + HOUR_MS)
    assert 2 * PRICE == brake.hours["shop", "DE"][-1].unverified
    brake.verify([sent], "shop +49", NOW)
    assert changed == [
        bucket.limit for bucket, debt in brake.debts.items() if before[bucket] != debt
    ]
    assert Measure.EXEMPT is send(brake, NOW, number="shop +49")[1].measure


def test_resends_are_repaid_with_their_challenge_and_raise_the_allowance_once():
    brake = create_brake(replace(SETTINGS, floors=Floors()))
    sent = [send(brake, NOW + index)[1] for index in range(3)]

    brake.verify(sent, "shop +49", NOW + MINUTE_MS)

    # The budget of the day keeps what was spent.
    repaid = {(0, PRICE), (0, MESSAGE_UNITS), (3 * PRICE, 0)}
    assert repaid == list_amounts(brake, NOW + MINUTE_MS)


def test_a_send_that_nobody_took_leaves_nothing_behind():
    brake = create_brake()
    brake.verify([], "shop +49", NOW)
    for number, options in (("", {}), ("shop +49", {}), ("", {"is_delivery": True})):
        brake.withdraw(send(brake, NOW + 5, number=number, **options)[1], number, NOW + 9)

    assert {(0, 0)} == list_amounts(brake, NOW + 9)
    assert () == brake.known["shop +49"].unpaid_at
    brake.work(NOW + HOUR_MS)
    last = brake.hours["shop", "DE"][-1]
    assert (0, 0) == (last.unverified, last.volume)


def test_sends_in_an_outage_are_volume_and_not_repaid():
    brake = create_brake()
    brake.outages = (Outage(NOW, NOW + HOUR_MS, "DE"),)

    sent = [send(brake, NOW)[1] for _ in range(5)]

    assert {Measure.VOLUME} == {one.measure for one in sent}


def test_hours_without_work_are_empty_in_the_history():
    """A replay works only when something has happened."""
    brake = create_brake()
    sent = send(brake, NOW)[1]
    brake.verify([sent], "shop +49", NOW)
    brake.work(NOW + HOUR_MS)
    send(brake, NOW + HOUR_MS)

    brake.work(NOW + 5 * HOUR_MS)

    verified = [hour.verified for hour in brake.hours["shop", "DE"][-6:]]
    assert verified == [0, PRICE, 0, 0, 0, 0]
    assert PRICE == brake.hours["shop", "DE"][-4].unverified


def count_admitted(brake, now):
    """Ask for 200 in as many ranges, of which none verifies."""
    subjects = (
        replace(SUBJECT, range=f"r{i}", block=f"b{i}", client_address=None) for i in range(200)
    )
    return sum(send(brake, now, subject)[0].is_sent for subject in subjects)


def test_a_country_that_refuses_marks_the_hour_and_makes_its_ranges_tighter():
    brake = create_brake(BrakeSettings(10**12, deviations=0))
    verified = HourTotals(verified=100 * PRICE, unverified=25 * PRICE)
    brake.hours["shop", "DE"] = [verified] * HISTORY_HOURS
    brake.work(NOW + HOUR_MS)
    begun = NOW + 2 * HOUR_MS - MINUTE_MS

    count_admitted(brake, begun)
    brake.work(begun + MINUTE_MS)

    assert brake.hours["shop", "DE"][-1].has_refusals
    assert not brake.hours["shop", "DE"][-2].has_refusals
    brake.debts = {b: d for b, d in brake.debts.items() if b.limit is DebtLimit.SPEND_OVERALL}
    admitted = [send(brake, begun + MINUTE_MS)[0].is_sent for _ in range(4)]
    assert admitted == [True, True, True, False]  # strained_range_sends


def test_a_country_is_learned_from_its_verifications_and_then_admits_more():
    brake = create_brake(BrakeSettings(10**12))

    def verify_day(start):
        for hour in range(24):
            for index in range(30):
                subject = replace(SUBJECT, range=f"{index}", block=f"{index}", client_address=None)
                sent = send(brake, start + hour * HOUR_MS, subject)[1]
                if index % 3:
                    brake.verify([sent], f"{hour} {index}", start + hour * HOUR_MS)
            brake.work(start + (hour + 1) * HOUR_MS)

    before = count_admitted(brake, NOW)
    verify_day(NOW + 2 * DAY_MS)
    verify_day(NOW + 3 * DAY_MS)

    assert 26 == before  # the floor of the hour
    assert count_admitted(brake, NOW + 4 * DAY_MS) > 40


def test_what_has_expired_is_dropped_and_nothing_else():
    brake = create_brake()
    brake.verify([send(brake, NOW)[1]], "shop old", NOW)
    later = NOW + 89 * DAY_MS
    brake.verify([send(brake, later)[1]], "shop new", later)

    brake.forget_expired(later + HOUR_MS)
    assert {"shop old", "shop new"} == set(brake.known)

    brake.forget_expired(NOW + 90 * DAY_MS)
    assert {"shop new"} == set(brake.known)
    assert brake.debts
    assert all(settle_debt(debt, later) != EMPTY_DEBT for debt in brake.debts.values())

    brake.forget_expired(later + 29 * HOUR_MS)
    assert {} == brake.debts
