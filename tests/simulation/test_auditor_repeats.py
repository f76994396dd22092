"""A repeat with the same Idempotency-Key is answered the same, and does nothing else."""

import pytest

from tests.simulation.history import Answered, Canceled, Crashed, FaultKind, Refused, Unavailable
from tests.simulation.history_builder import CODE, NUMBER, OTHER_NUMBER, HistoryBuilder


TWO_CHALLENGES = "one Idempotency-Key sent the messages of two challenges"


@pytest.fixture
def history():
    return HistoryBuilder()


def list_repeat_rules(history):
    return [found.rule for found in history.audit() if found.promise == "repeats"]


def test_a_repeat_gets_the_same_answer(history):
    history.issue(idempotency_key="k")
    history.repeat(0)
    history.refuse(
        "issue", "idempotency-key-reused", phone_number=OTHER_NUMBER, idempotency_key="k"
    )

    assert [] == history.list_rules()


def test_a_repeat_with_another_answer_is_found(history):
    history.issue(idempotency_key="k")
    call = history.repeat(0)
    history.edit_call(call.number, outcome=Answered({"id": "c07-other"}))

    (violation,) = history.audit()

    assert "a repeat was answered otherwise than the first call" == violation.rule
    assert (0, 1) == violation.calls


def test_a_repeat_that_sends_again_is_found(history):
    """This is what a service does that frees the key too early."""
    history.issue(idempotency_key="k")
    history.wait(31_000)
    history.issue("4711000002", idempotency_key="k")

    expected = {
        "a repeat was answered otherwise than the first call",
        "a repeat sent a message",
        TWO_CHALLENGES,
    }
    assert expected == set(history.list_rules())


@pytest.mark.parametrize(("answer", "is_charged"), [("unknown", True), ("refused", False)])
def test_a_repeat_finds_the_message_of_a_call_that_failed_after_it(history, answer, is_charged):
    """Its key was freed too early: the cooldown of the first message refuses the second one."""
    history.issue(idempotency_key="k", outcome=Unavailable(), answer=answer)
    history.wait(1_000)
    history.refuse(
        "issue",
        "rate-limited",
        limit="CooldownPerNumber",
        retry_after=29,
        phone_number=NUMBER,
        account="u-1",
        idempotency_key="k",
    )

    charged = ["a repeat of a call that may have sent a message was charged"]
    assert charged * is_charged == list_repeat_rules(history)


@pytest.mark.parametrize("outcome", [Canceled(), Crashed(), Unavailable()])
def test_a_message_that_may_have_been_taken_is_sent_once(history, outcome):
    history.issue(idempotency_key="k", outcome=outcome)
    history.wait(31_000)
    history.issue("4711000002", idempotency_key="k")

    assert [TWO_CHALLENGES] == history.list_rules()


def test_a_message_that_no_provider_took_is_sent_again(history):
    history.issue(idempotency_key="k", outcome=Refused("delivery-failed"), answer="refused")
    history.wait(31_000)
    history.issue("4711000002", idempotency_key="k")

    assert [] == history.list_rules()


@pytest.mark.parametrize(
    ("kind", "target", "is_forgotten"),
    [
        (FaultKind.STORE_REPLACED, "", True),
        (FaultKind.KEY_ROTATION, "limit", True),
        (FaultKind.KEY_ROTATION, "seal", False),
    ],
)
def test_a_key_is_forgotten_with_the_store_and_with_the_limit_key(
    history, kind, target, is_forgotten
):
    history.issue(idempotency_key="k")
    history.add_fault(kind, target=target)
    history.wait(31_000)
    history.issue("4711000002", idempotency_key="k")

    assert is_forgotten == (list_repeat_rules(history) == [])


def test_a_key_is_forgotten_after_a_day(history):
    history.issue(idempotency_key="k")
    history.wait(86_400_000)
    history.issue("4711000002", idempotency_key="k")

    assert [] == list_repeat_rules(history)


def test_a_key_that_is_taken_for_another_request_is_found(history):
    history.issue(idempotency_key="k")
    call = history.repeat(0)
    history.edit_call(call.number, arguments={"phone_number": OTHER_NUMBER, "idempotency_key": "k"})

    assert ["one Idempotency-Key was taken for two requests"] == history.list_rules()


def test_a_key_that_a_refused_call_freed_takes_another_request(history):
    history.refuse("issue", "number-not-allowed", phone_number=OTHER_NUMBER, idempotency_key="k")
    history.issue(idempotency_key="k")

    assert [] == history.list_rules()


def test_a_key_of_another_tenant_is_another_key(history):
    history.issue(idempotency_key="k")
    history.wait(31_000)
    history.issue("4711000002", idempotency_key="k", tenant="bank")

    assert [] == history.list_rules()


def test_a_repeat_that_was_charged_is_found(history):
    history.issue(idempotency_key="k")
    history.refuse(
        *("issue", "rate-limited"),
        limit="CooldownPerNumber",
        retry_after=30,
        phone_number=NUMBER,
        account="u-1",
        idempotency_key="k",
    )

    assert ["a repeat of an answered call was charged"] == history.list_rules()


def test_a_repeat_at_the_same_time_may_be_in_use(history):
    start = history.now
    history.issue(idempotency_key="k", at=start)
    history.refuse(
        *("issue", "idempotency-key-in-use"), at=start, phone_number=NUMBER, idempotency_key="k"
    )

    assert [] == history.list_rules()


def test_two_calls_with_one_challenge_are_found(history):
    """This is what a service does that matches a reply to the wrong command."""
    challenge = history.issue()
    history.call("issue", Answered({"id": challenge}), phone_number=OTHER_NUMBER)

    assert "two calls were answered with one challenge" in list_repeat_rules(history)


def test_another_code_under_the_key_of_a_verify_is_judged_as_any_code(history):
    challenge = history.issue()
    history.verify(challenge, "4711999999", idempotency_key="k")
    history.verify(challenge, CODE, idempotency_key="k")

    assert [] == history.list_rules()


def test_a_repeat_of_an_app_returns_the_same_token(history):
    token = history.confirm()
    history.wait(30_000)
    first = history.verify_app(token, idempotency_key="k")
    second = history.repeat(first.number)
    assert [] == history.list_rules()

    history.edit_call(second.number, outcome=Answered({"authenticator": "a1.other"}))
    assert ["a repeat was answered otherwise than the first call"] == history.list_rules()
