"""An answer shows as many sends and attempts as the calls before it have left."""

import pytest

from tests.simulation.history import Answered, Crashed, FaultKind, Refused
from tests.simulation.history_builder import CODE, WRONG_CODE, HistoryBuilder


@pytest.fixture
def history():
    return HistoryBuilder(limits={})


def show(history, number, **counts):
    """Let the answer of a call show these counts."""
    value = history.calls[number].outcome.value
    history.edit_call(number, outcome=Answered({**value, **counts}))


def list_answer_rules(history):
    return [found.rule for found in history.audit() if found.promise == "answers"]


def test_the_first_send_counts(history):
    history.issue()

    show(history, 0, sends_left=2)
    assert [] == history.list_rules()

    show(history, 0, sends_left=3)
    assert ["a send was not counted"] == history.list_rules()

    show(history, 0, sends_left=1)
    assert ["a send counted twice"] == history.list_rules()


@pytest.mark.parametrize(
    ("left", "rules"),
    [(2, ["a send was not counted"]), (1, []), (0, ["a send counted twice"])],
)
def test_a_resend_counts_once(history, left, rules):
    challenge = history.issue()
    history.resend(challenge, "4711000002")

    show(history, 1, sends_left=left)

    assert rules == history.list_rules()


@pytest.mark.parametrize("left", [1, 2])
def test_a_resend_of_unknown_outcome_may_have_counted(history, left):
    challenge = history.issue()
    history.call("resend", Crashed(), challenge=challenge)
    history.verify(challenge)

    show(history, 2, sends_left=left)

    assert [] == list_answer_rules(history)


def test_a_resend_that_was_refused_long_ago_has_its_send_back(history):
    challenge = history.issue()
    history.call("resend", Refused("delivery-failed"), challenge=challenge)
    history.wait(10_000)
    history.verify(challenge)

    show(history, 2, sends_left=2)
    assert [] == list_answer_rules(history)

    show(history, 2, sends_left=1)
    assert ["a send counted twice"] == list_answer_rules(history)


def test_a_receipt_of_a_lost_message_may_have_sent_again(history):
    challenge = history.issue()
    history.call("receive_receipt", Answered(), reference=f"shop.{challenge}.1.1", tenant="")
    history.verify(challenge)

    show(history, 2, sends_left=1)

    assert [] == list_answer_rules(history)


def test_a_send_may_be_forgotten_with_lost_writes(history):
    challenge = history.issue()
    history.add_fault(FaultKind.STORE_FAILOVER, lost_writes=1)
    history.verify(challenge)

    show(history, 1, sends_left=3)

    assert [] == list_answer_rules(history)


@pytest.mark.parametrize(
    ("left", "rules"),
    [
        (5, ["an answer shows too many attempts"]),
        (4, []),
        (3, []),
        (2, ["an answer shows too few attempts"]),
    ],
)
def test_a_success_shows_the_attempts_that_are_left(history, left, rules):
    """Its own attempt is counted, or is not any more."""
    challenge = history.issue()
    history.verify(challenge, WRONG_CODE)
    history.verify(challenge, CODE)

    show(history, 2, attempts_left=left)

    assert rules == list_answer_rules(history)
