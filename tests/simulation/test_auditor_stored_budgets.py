"""What the store has charged is compared with the calls in both directions: too much, and too little."""

import pytest

from tests.simulation.history import Answered, Canceled, Crashed, FaultKind, Unavailable
from tests.simulation.history_builder import NUMBER, WRONG_CODE, HistoryBuilder


NUMBER_SENDS = ("SendsPerNumberAndTenant", "shop", NUMBER)
ACCOUNT_SENDS = ("SendsPerAccount", "shop", "u-1")
NUMBER_FAILURES = ("FailuresPerNumber", "shop", NUMBER)


@pytest.fixture
def history():
    return HistoryBuilder()


def list_charge_rules(history):
    return [found.rule for found in history.audit() if found.promise == "charges"]


@pytest.mark.parametrize(
    ("used", "rules"),
    [
        (0, ["SendsPerNumberAndTenant lacks a charge"]),
        (1, []),
        (2, ["SendsPerNumberAndTenant kept a charge that is refunded"]),
    ],
)
def test_a_send_that_may_be_billed_is_charged_once(history, used, rules):
    history.issue()
    history.add_budget(*NUMBER_SENDS, used=(used, 1))

    assert rules == list_charge_rules(history)


def test_a_charge_has_left_a_window_that_is_shorter(history):
    history.issue()
    history.wait(700_000)
    history.add_budget(*NUMBER_SENDS, used=(0, 1))

    assert [] == list_charge_rules(history)


@pytest.mark.parametrize(("used", "is_right"), [(0, True), (1, False)])
def test_a_right_code_takes_back_its_failure(history, used, is_right):
    history.verify(history.issue())
    history.add_budget(*NUMBER_FAILURES, used=(used,))

    assert is_right == (list_charge_rules(history) == [])


@pytest.mark.parametrize(("used", "is_right"), [(0, False), (1, True)])
def test_a_wrong_code_keeps_its_failure(history, used, is_right):
    history.verify(history.issue(), WRONG_CODE)
    history.add_budget(*NUMBER_FAILURES, used=(used,))

    assert is_right == (list_charge_rules(history) == [])


@pytest.mark.parametrize("used", [0, 1])
def test_a_call_that_was_503_has_no_charge_once_its_refund_is_due(history, used):
    challenge = history.issue()
    history.call("verify", Unavailable(), challenge=challenge, code=WRONG_CODE, account="u-1")
    history.add_budget(*NUMBER_FAILURES, used=(used,))

    kept = ["FailuresPerNumber kept a charge that is refunded"]
    assert kept * used == list_charge_rules(history)


@pytest.mark.parametrize(
    ("kinds", "is_right"),
    [
        ([], False),
        (["authenticator.attempted"], True),
        (["authenticator.attempted", "authenticator.denied"], False),
    ],
)
def test_a_charged_code_of_an_app_may_have_been_compared_before_a_503(history, kinds, is_right):
    """No hasher sees it, but the event of a refund shows that it was not."""
    token = history.confirm()
    call = history.call(
        "verify_authenticator", Unavailable(), authenticator=token, account="u-1", code="123456"
    )
    for kind in kinds:
        history.add_event(kind, call, reason="store_unavailable")
    history.add_budget("AuthenticatorFailuresPerAccount", "shop", "u-1", used=(1, 1))

    assert is_right == (list_charge_rules(history) == [])


@pytest.mark.parametrize("outcome", [Canceled(), Crashed()])
def test_a_call_whose_result_is_unknown_may_be_charged_or_not(history, outcome):
    for used in (0, 1):
        history.call("issue", outcome, phone_number=NUMBER, account="u-1")
        history.wait(30_000)
        history.add_budget(*NUMBER_SENDS, used=(used, used))

    assert [] == list_charge_rules(history)


def test_a_lost_write_excuses_a_missing_charge(history):
    history.issue()
    history.add_fault(FaultKind.STORE_RESTART, lost_writes=1)
    history.add_budget(*NUMBER_SENDS, used=(0, 0))

    assert [] == list_charge_rules(history)


def test_an_unlock_resets_the_failures_of_before(history):
    history.verify(history.issue(), WRONG_CODE)
    history.wait(1_000)
    history.call("unlock_number", Answered(), phone_number=NUMBER)
    history.add_budget(*NUMBER_FAILURES, used=(0,))

    assert [] == list_charge_rules(history)


def test_a_set_clock_says_nothing_of_a_budget(history):
    history.issue()
    history.add_fault(FaultKind.STORE_CLOCK, jump_ms=400_000, ms=1_000)
    history.add_budget(*NUMBER_SENDS, used=(3, 3))

    assert [] == list_charge_rules(history)


@pytest.mark.parametrize(("used", "is_right"), [(0, False), (2, True), (3, False)])
def test_a_budget_that_empties_steadily_is_as_full_as_its_charges_make_it(history, used, is_right):
    history.issue()
    history.wait(40_000)
    history.issue("4711000002")
    history.add_budget(*ACCOUNT_SENDS, used=(used,))

    assert is_right == (list_charge_rules(history) == [])


def test_a_budget_that_no_call_can_have_charged_is_empty(history):
    history.issue()
    history.add_budget("SendsPerNumberAndTenant", "bank", NUMBER, used=(1, 1))

    kept = ["SendsPerNumberAndTenant kept a charge that is refunded"] * 2
    assert kept == list_charge_rules(history)


@pytest.mark.parametrize(("wait_ms", "used", "is_right"), [(0, 1, True), (20_000, 1, False)])
def test_a_refund_takes_a_part_of_a_charge_of_its_time_alone(history, wait_ms, used, is_right):
    history.call("issue", Unavailable(), phone_number=NUMBER, account="u-1")
    history.wait(wait_ms)
    history.issue()
    history.wait(40_000)
    history.issue("4711000002")
    history.add_budget(*ACCOUNT_SENDS, used=(used,))

    assert is_right == (list_charge_rules(history) == [])
