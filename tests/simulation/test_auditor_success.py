"""A challenge is accepted once: with its code, in its time, and for its bound values."""

import pytest

from tests.simulation.history import Answered, Canceled, FaultKind, Refused
from tests.simulation.history_builder import CODE, OTHER_NUMBER, WRONG_CODE, HistoryBuilder


TWICE = "a challenge was accepted twice"
SECOND_CODE, THIRD_CODE = "4711000002", "4711000003"


@pytest.fixture
def history():
    return HistoryBuilder()


def list_success_rules(history):
    return [found.rule for found in history.audit() if found.promise == "success"]


def test_a_login_is_accepted_once_and_a_lost_answer_is_repeated(history):
    challenge = history.issue()
    history.verify(challenge, WRONG_CODE)
    accepted = history.verify(challenge, idempotency_key="k")
    history.repeat(accepted.number)
    history.refuse("verify", "challenge-already-verified", challenge=challenge, code=CODE)

    assert [] == history.list_rules()


def test_two_calls_that_were_accepted_are_found(history):
    challenge = history.issue()
    history.verify(challenge)
    history.verify(challenge)

    violations = [found for found in history.audit() if found.promise == "success"]

    assert [(TWICE, challenge, (1, 2))] == [(v.rule, v.subject, v.calls) for v in violations]


def test_two_keys_are_two_calls(history):
    challenge = history.issue()
    history.verify(challenge, idempotency_key="k1")
    history.verify(challenge, idempotency_key="k2")

    assert [TWICE] == list_success_rules(history)


@pytest.mark.parametrize(("is_replicated", "rules"), [(True, [TWICE]), (False, [])])
def test_a_failover_excuses_a_second_success_only_without_replicas(is_replicated, rules):
    history = HistoryBuilder(is_replicated=is_replicated)
    challenge = history.issue()
    history.verify(challenge)
    history.add_fault(FaultKind.STORE_FAILOVER, lost_writes=3)
    history.verify(challenge)

    assert rules == list_success_rules(history)


def test_a_success_without_its_replicas_is_found():
    history = HistoryBuilder(is_replicated=True)
    challenge = history.issue()
    history.add_fault(FaultKind.REPLICA_DOWN, ms=10_000)
    history.wait(1)
    history.comparisons.clear()
    history.verify(challenge)
    history.comparisons.clear()

    assert ["a code was accepted while too few replicas could have it"] == list_success_rules(
        history
    )


def test_a_repeat_after_a_minute_is_found(history):
    challenge = history.issue()
    first = history.verify(challenge, idempotency_key="k")
    history.wait(60_000)
    history.repeat(first.number)

    assert ["a success was repeated after a minute"] == list_success_rules(history)


def test_a_code_that_was_never_sent_is_found(history):
    challenge = history.issue()
    history.verify(challenge, WRONG_CODE, outcome=Answered({"id": challenge}))

    assert ["a code was accepted that was never sent"] == list_success_rules(history)


def test_the_earlier_of_two_codes_is_accepted(history):
    challenge = history.issue()
    history.wait(31_000)
    history.resend(challenge, SECOND_CODE)
    history.verify(challenge, CODE)

    assert [] == history.list_rules()


def test_the_oldest_of_three_codes_is_found(history):
    challenge = history.issue()
    for send, code in ((2, SECOND_CODE), (3, THIRD_CODE)):
        history.wait(31_000)
        history.resend(challenge, code, send)
    history.verify(challenge, CODE)

    assert ["a code was accepted that newer codes had replaced"] == list_success_rules(history)


def test_a_code_that_no_provider_took_replaces_no_other(history):
    challenge = history.issue()
    history.wait(31_000)
    history.resend(challenge, SECOND_CODE, 2)
    history.wait(31_000)
    call = history.call("resend", Refused("delivery-failed"), challenge=challenge)
    history.add_event("otp.resent", call, challenge)
    history.send(call, challenge, THIRD_CODE, send=3, answer="refused")
    history.verify(challenge, CODE)

    assert [] == history.list_rules()


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"account": "u-2"}, "a challenge was accepted with another account"),
        ({"phone_number": OTHER_NUMBER}, "a challenge was accepted with another phone number"),
        ({"tenant": "bank"}, "a challenge was accepted for another tenant"),
    ],
)
def test_a_success_with_another_bound_value_is_found(history, arguments, rule):
    challenge = history.issue()
    history.verify(challenge, **arguments)

    assert [rule] == list_success_rules(history)


def test_a_call_after_the_deadline_is_found(history):
    challenge = history.issue()
    history.wait(300_000)
    history.verify(challenge)

    assert "a code was accepted after its deadline" in list_success_rules(history)


def test_an_attempt_that_is_charged_after_the_deadline_is_found(history):
    """The call began before. This is what a service does without the deadline in its commit."""
    challenge = history.issue()
    deadline = history.now - 101 + 50 + 300_000
    call = history.verify(challenge, at=deadline - 10, ms=50)
    history.edit_event(-2, at=deadline)

    (violation,) = [found for found in history.audit() if found.promise == "success"]

    assert "an attempt was charged after the deadline" == violation.rule
    assert (call.number,) == violation.calls


def test_an_attempt_that_is_charged_in_time_may_be_accepted_after_the_deadline(history):
    challenge = history.issue()
    deadline = history.now - 101 + 50 + 300_000
    history.verify(challenge, at=deadline - 10, ms=50)
    history.edit_event(-2, at=deadline - 1)
    history.edit_event(-1, at=deadline + 20)

    assert [] == list_success_rules(history)


def test_an_entry_keeps_the_instant_of_the_one_before_when_a_clock_was_set_back(history):
    history.add_fault(FaultKind.STORE_CLOCK, jump_ms=400_000, ms=1_000)
    history.wait(2_000)
    history.verify(history.issue())
    history.edit_event(-1, at=history.now + 400_000)

    assert [] == list_success_rules(history)


def test_a_clock_that_was_set_back_gives_a_challenge_more_time(history):
    challenge = history.issue()
    history.add_fault(FaultKind.STORE_CLOCK, jump_ms=-60_000)
    history.wait(310_000)
    history.verify(challenge)
    history.edit_event(-1, at=history.now - 60_000)
    history.edit_event(-2, at=history.now - 60_000)

    assert [] == list_success_rules(history)


def test_a_success_after_a_cancel_is_found(history):
    challenge = history.issue()
    history.call("cancel", Answered(), challenge=challenge)
    history.verify(challenge)

    assert ["a code was accepted after its challenge was canceled"] == list_success_rules(history)


def test_a_success_during_a_cancel_is_lawful(history):
    challenge = history.issue()
    start = history.now
    history.verify(challenge, at=start)
    history.refuse("cancel", "challenge-already-verified", at=start, ms=200, challenge=challenge)

    assert [] == history.list_rules()


def test_a_cancel_after_the_success_is_found(history):
    challenge = history.issue()
    history.verify(challenge)
    call = history.call("cancel", Answered(), challenge=challenge)

    violations = [found for found in history.audit() if found.promise == "success"]

    assert ["a challenge was canceled after it was verified"] == [v.rule for v in violations]
    assert call.number in violations[0].calls


def test_a_cancel_that_its_caller_gave_up_says_nothing(history):
    challenge = history.issue()
    history.call("cancel", Canceled(), challenge=challenge)
    history.verify(challenge)

    assert [] == list_success_rules(history)
