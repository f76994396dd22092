"""A replay of logged events: what each formula refuses, and what it does not know."""

import pytest
from msgspec.structs import replace

from otp_service.core.pumping.formula_text import build_default_formula
from otp_service.core.pumping.logged_event import LoggedEvent
from otp_service.core.pumping.prices import DEFAULT_PRICE_TABLE
from otp_service.core.pumping.replay import Replay
from otp_service.core.pumping.replay_result import ReplayPeriod
from otp_service.core.pumping.replayed_formula import ReplayedFormula
from otp_service.core.timestamps import DAY_MS, HOUR_MS, MINUTE_MS


START = 20_000 * DAY_MS
PRICE = 75_000
FORMULA = build_default_formula(DEFAULT_PRICE_TABLE)
NARROW = replace(
    FORMULA,
    settings=replace(FORMULA.settings, floors=replace(FORMULA.settings.floors, range_sends=(2, 4))),
)


class Log:
    """Writes events, and replays them by a formula that admits two sends of a range."""

    def __init__(self, start=START, **period):
        self.replay = Replay(
            {
                name: ReplayedFormula(formula, DEFAULT_PRICE_TABLE.find_price, start)
                for name, formula in (("default", FORMULA), ("narrow", NARROW))
            },
            ReplayPeriod(start, START + 1000 * DAY_MS, **period),
            DEFAULT_PRICE_TABLE,
        )
        self.now = START
        self.challenges = 0

    def add(self, kind, challenge="", **fields):
        fields = {"number": "k1:1", "tenant": "shop", "country": "DE"} | fields
        self.replay.add_event(LoggedEvent(type=kind, at=self.now, challenge=challenge, **fields))

    def issue(self, number="k1:1", kind="otp.issued", **fields):
        """Add a send that a provider takes; return its challenge."""
        self.challenges += 1
        challenge = f"c{self.challenges}"
        fields = {"prefix": "range", "block": "block", "price": PRICE} | fields
        self.add(kind, challenge, number=number, **fields)
        self.add("otp.sent", challenge, number=number, provider="twilio")
        return challenge

    def get_result(self, name="narrow"):
        self.replay.finish()
        return self.replay.formulas[name].result


@pytest.fixture
def log():
    return Log()


def test_formulas_are_compared_on_the_same_sends(log):
    for number in range(5):
        log.issue(f"k1:{number}")

    assert 0 == log.get_result("default").refused
    result = log.get_result()
    assert (3, 3 * PRICE, START) == (result.refused, result.saved, result.first_refused_at)
    assert {"UnverifiedPerRange": 3} == result.refused_by
    assert {("DE", "2024-10-04"): 3} == result.refused_in
    assert (5, 5 * PRICE) == (log.replay.totals.sends, log.replay.totals.spent)


def test_a_verification_repays_all_sends_of_its_challenge(log):
    first = log.issue()
    log.add("otp.resent", first, send=2, price=PRICE)
    log.add("otp.verified", first)

    log.issue("k1:2")
    log.issue("k1:3")

    assert 0 == log.get_result().refused
    assert 1 == log.replay.totals.verified


def test_a_send_that_is_refused_neither_verifies_nor_makes_its_number_known(log):
    log.issue("k1:8")
    log.issue("k1:9")
    refused = log.issue("k1:1")
    log.add("otp.verified", refused)

    log.issue("k1:1")

    assert 2 == log.get_result().refused


def test_refused_numbers_that_verify_within_a_day_are_counted_once(log):
    log.issue("k1:8")
    log.issue("k1:9")
    early, late = log.issue("k1:1"), log.issue("k1:2")
    log.add("otp.verified", early)
    log.now += MINUTE_MS
    log.add("otp.verified", log.issue("k1:1"))
    log.now += DAY_MS
    log.add("otp.verified", late, number="k1:2")

    result = log.get_result()
    assert (3, 2) == (result.refused, result.later_verified)


def test_a_send_that_no_provider_took_is_no_debt_and_costs_nothing(log):
    for number in range(4):
        log.challenges += 1
        challenge = f"c{log.challenges}"
        log.add(
            "otp.issued", challenge, number=f"k1:{number}", prefix="range", block="b", price=PRICE
        )
        log.add("otp.provider_failed", challenge, fault="provider")
        log.now += 2 * MINUTE_MS

    assert 0 == log.get_result().refused
    assert 0 == log.replay.totals.spent


def test_a_number_that_does_not_exist_keeps_its_debt(log):
    for number in range(3):
        challenge = f"c{number}"
        log.add(
            "otp.issued", challenge, number=f"k1:{number}", prefix="range", block="b", price=PRICE
        )
        log.add("otp.provider_failed", challenge, fault="recipient")
        log.now += MINUTE_MS

    assert 1 == log.get_result().refused


def test_a_second_provider_makes_the_send_a_debt_and_a_second_message_costs_as_much(log):
    challenge = "c0"
    log.add("otp.issued", challenge, prefix="range", block="b", price=PRICE)
    log.add("otp.provider_failed", challenge, fault="provider")
    log.add("otp.sent", challenge, provider="vonage")
    log.add("otp.sent", challenge, provider="twilio")
    log.now += MINUTE_MS
    log.issue("k1:2")
    log.issue("k1:3")

    assert 1 == log.get_result().refused
    assert 4 * PRICE == log.replay.totals.spent


def test_what_is_before_the_period_is_learned_from_and_not_counted():
    log = Log(start=START + DAY_MS)
    for number in range(5):
        log.issue(f"k1:{number}")
    assert 0 == log.get_result().refused

    log.now += DAY_MS + HOUR_MS
    log.issue("k1:8")
    log.issue("k1:9")
    log.issue("k1:10")

    result = log.get_result()
    assert (1, 3) == (result.refused, log.replay.totals.sends)  # two of the day before count


def test_what_is_over_before_the_period_was_sent_and_makes_its_number_known():
    log = Log(start=START + DAY_MS)
    log.issue("k1:8")
    log.issue("k1:9")
    log.add("otp.verified", log.issue("k1:1"))
    log.now += DAY_MS

    log.issue("k1:2")
    log.issue("k1:1")

    assert 0 == log.get_result().refused
    assert "shop k1:1" in log.replay.formulas["narrow"].brake.known


def test_a_number_that_verifies_after_a_day_was_not_refused_wrongly(log):
    log.now += HOUR_MS
    for number in range(3):
        log.issue(f"k1:{number}")
    log.now += DAY_MS - 30 * MINUTE_MS
    log.issue("k1:9", country="FR", prefix="", block="")
    log.now += 31 * MINUTE_MS

    log.add("otp.verified", "c3", number="k1:2")

    result = log.get_result()
    assert (1, 0) == (result.refused, result.later_verified)


def test_a_number_that_was_known_before_the_log_is_exempt(log):
    log.issue("k1:8")
    log.issue("k1:9")

    log.issue("k1:1", measure="exempt")

    assert 0 == log.get_result().refused


def test_what_the_service_itself_has_refused_is_decided_too():
    log = Log()
    denied = {"limit": "UnverifiedPerRange", "prefix": "range", "block": "b", "price": PRICE}
    log.add("otp.issue_denied", "c9", folded=5, **denied)
    log.add("otp.issue_denied", "c9", limit="SendsPerNumber", prefix="range", block="b")

    totals = log.replay.totals
    assert (5, 0, 0) == (totals.denials, totals.sends, totals.spent)
    assert (5, 2) == (log.get_result("default").admitted_denials, log.get_result().admitted_denials)


def test_a_copy_of_an_event_counts_once(log):
    event = {"prefix": "range", "block": "block", "price": PRICE}
    for _ in range(4):
        log.add("otp.issued", "c1", **event)
        log.add("otp.resent", "c1", send=2, price=PRICE)

    assert (0, 2) == (log.get_result().refused, log.replay.totals.sends)


def test_only_the_sends_of_the_chosen_tenant_are_counted_and_all_are_decided():
    log = Log(tenant="bank", country="DE")
    log.issue("k1:1")
    log.issue("k1:2")
    log.issue("k1:3", tenant="bank")  # ranges count all tenants
    log.issue("k1:3", tenant="bank", country="FR", prefix="other")

    assert (1, 1) == (log.get_result().refused, log.replay.totals.sends)


def test_deliveries_are_compared_by_volume_and_never_exempt(log):
    log.add("otp.verified", log.issue("k1:1"))
    for _ in range(5):
        log.issue("k1:1", kind="delivery.created")

    assert 0 == log.get_result().refused
    assert 5 == log.replay.totals.deliveries
    debts = log.replay.formulas["narrow"].brake.debts
    assert 5 * PRICE == sum(
        sum(debt.windows[0].unverified)
        for bucket, debt in debts.items()
        if bucket.limit == "VolumePerCountryAndTenant"
    )


def test_what_is_unknown_is_counted(log):
    log.add("otp.resent", "unknown", send=2)
    log.issue("k2:1", prefix="", block="", price=None)
    log.now -= 2 * MINUTE_MS
    log.issue("k2:2")

    remarks = log.replay.remarks
    assert (1, 1, 1, 1) == (
        remarks.unknown_challenges,
        remarks.without_range,
        remarks.without_block,
        remarks.without_price,
    )
    assert 2 == remarks.late_events  # the issue and its message
    assert {"k1", "k2"} == set(remarks.pseudonym_keys)
    assert 2 * PRICE == log.replay.totals.spent  # the table has the same price


def test_the_clock_of_a_replay_never_goes_back(log):
    """Buckets age whenever the time goes back and forward over the end of a slot."""
    log.now += HOUR_MS
    for number in range(20):
        log.now += 2 * MINUTE_MS if number % 2 else -2 * MINUTE_MS
        log.issue(f"k1:{number}")

    assert 18 == log.get_result().refused


def test_an_outage_of_every_provider_is_no_debt():
    log = Log()
    log.add("otp.verified", log.issue())
    log.now += MINUTE_MS
    log.add("provider.moved", provider="twilio", state="open", number="")
    log.now += MINUTE_MS
    for number in range(5):
        log.issue(f"k1:{number}")
    assert 0 == log.get_result().refused

    log.add("provider.moved", provider="twilio", state="closed", number="")
    log.now += 15 * MINUTE_MS
    for number in range(10, 15):
        log.issue(f"k1:{number}")
    assert 3 == log.get_result().refused


def test_known_numbers_that_verify_no_more_show_an_outage():
    log = Log()
    for day in range(2):
        for index in range(120):
            log.now = START + day * DAY_MS + 8 * HOUR_MS + index * MINUTE_MS
            number = f"k1:{index}"
            challenge = log.issue(number, prefix=f"r{index}", block=f"b{index}", measure="exempt")
            if day == 0 or index < 60:
                log.add("otp.verified", challenge, number=number)
    for index in range(5):
        log.issue(f"k1:new{index}")

    assert 0 == log.get_result().refused


def test_what_has_expired_is_forgotten(log):
    for number in range(3):
        log.issue(f"k1:{number}")
    log.now += 3 * DAY_MS
    log.issue("k1:9")

    run = log.replay.formulas["narrow"]
    assert 1 == len(log.replay._challenges) == len(run._sends)
    assert {} == run._refused_at
    assert 5 == len(run.brake.debts)
