"""Nothing is sent in doubt, after an end, or to a number on the do-not-send list."""

import pytest

from tests.simulation.history import Answered, Canceled, FaultKind, Refused, Unavailable
from tests.simulation.history_builder import NUMBER, OTHER_NUMBER, HistoryBuilder


SECOND_CODE = "4711000002"


@pytest.fixture
def history():
    return HistoryBuilder()


def list_send_rules(history):
    return [found.rule for found in history.audit() if found.promise == "sends"]


def test_an_issue_and_its_resends_are_sent(history):
    challenge = history.issue()
    for send in (2, 3):
        history.wait(31_000)
        history.resend(challenge, f"471100000{send}", send)
    history.wait(31_000)
    history.refuse("resend", "sends-exhausted", challenge=challenge)

    assert [] == history.list_rules()


def test_a_second_provider_gets_the_same_code(history):
    challenge = history.issue(answer="unknown")
    history.send(history.calls[0], challenge, "4711000001", ordinal=2)

    assert [] == history.list_rules()


def test_a_fourth_send_is_found(history):
    challenge = history.issue()
    for send in (2, 3, 4):
        history.wait(31_000)
        history.resend(challenge, f"471100000{send}", send)

    assert ["a challenge was sent more often than it may"] == history.list_rules()


def test_a_submission_that_is_made_twice_is_found(history):
    challenge = history.issue()
    call = history.call("get", Canceled(), challenge=challenge)
    history.edit_call(call.number, kind="auto_resend")
    history.send(call, challenge, "4711000001")
    history.events.pop()

    assert ["one submission was made twice"] == list_send_rules(history)


def test_a_send_with_two_codes_is_found(history):
    challenge = history.issue(answer="unknown")
    history.send(history.calls[0], challenge, SECOND_CODE, ordinal=2)

    assert ["one send had two codes"] == history.list_rules()


@pytest.mark.parametrize(("is_replicated", "is_lawful"), [(False, True), (True, False)])
def test_a_resend_that_a_failover_lost_is_made_again(is_replicated, is_lawful):
    history = HistoryBuilder(is_replicated=is_replicated)
    challenge = history.issue()
    for code in (SECOND_CODE, "4711000003"):
        history.wait(31_000)
        history.add_fault(FaultKind.STORE_FAILOVER, lost_writes=5)
        history.resend(challenge, code, 2)

    assert is_lawful == (list_send_rules(history) == [])


def test_a_code_for_another_number_is_found(history):
    challenge = history.issue()
    history.wait(31_000)
    call = history.call("resend", Answered({"id": challenge}), challenge=challenge)
    history.add_event("otp.resent", call, challenge)
    history.send(call, challenge, SECOND_CODE, send=2, number=OTHER_NUMBER)

    assert [
        "a code was sent to another number or for another tenant than its challenge's"
    ] == list_send_rules(history)


@pytest.mark.parametrize(
    ("end", "rule"),
    [
        ("cancel", "a code was sent after the cancel"),
        ("verify", "a code was sent after the success"),
    ],
)
def test_a_resend_after_the_end_is_found(history, end, rule):
    challenge = history.issue()
    history.wait(31_000)
    if end == "cancel":
        history.add_event("otp.canceled", history.call("cancel", Answered(), challenge=challenge))
    else:
        history.verify(challenge)
    history.resend(challenge, SECOND_CODE)

    assert [rule] == history.list_rules()


def test_a_resend_that_was_under_way_at_the_end_is_lawful(history):
    challenge = history.issue()
    history.wait(31_000)
    start = history.now
    history.verify(challenge, at=start)
    history.resend(challenge, SECOND_CODE, at=start, ms=4_000)

    assert [] == history.list_rules()


def test_a_message_long_after_the_end_is_found_whatever_sent_it(history):
    challenge = history.issue()
    history.verify(challenge)
    start = history.now
    call = history.call(
        "receive_receipt", Answered(), tenant="", at=start - 150, provider="fast", reference="r"
    )
    history.send(call, challenge, SECOND_CODE, send=2, at=start + 20_000)

    assert ["a code was sent after the success"] == list_send_rules(history)


def test_a_resend_with_too_little_time_left_is_found(history):
    challenge = history.issue()
    history.wait(240_000)
    history.resend(challenge, SECOND_CODE)

    assert ["a code was sent when its challenge had too little time left"] == history.list_rules()


@pytest.mark.parametrize("reason", ["rate-limited", "number-not-allowed", "idempotency-key-reused"])
def test_a_refused_call_that_sent_a_message_is_found(history, reason):
    history.issue(outcome=Refused(reason))

    assert "a refused call sent a message" in list_send_rules(history)


def test_an_overloaded_call_that_sent_a_message_is_found(history):
    history.issue(outcome=Unavailable("overloaded"))

    assert ["a call that was overloaded sent a message"] == history.list_rules()


def test_a_503_after_a_message_may_mean_that_its_result_was_not_stored(history):
    history.issue(outcome=Unavailable())

    assert [] == history.list_rules()


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (FaultKind.STORE_DOWN, "a message was sent while the store took no write"),
        (FaultKind.STORE_READ_ONLY, "a message was sent while the store took no write"),
        (
            FaultKind.REPLICA_DOWN,
            "a message was sent while too few replicas could have its challenge",
        ),
    ],
)
def test_a_message_in_doubt_is_found(kind, rule):
    history = HistoryBuilder(is_replicated=True)
    history.add_fault(kind, ms=10_000)
    history.wait(1)
    history.issue(outcome=Unavailable())

    assert [rule] == list_send_rules(history)


def test_a_message_that_an_event_calls_reversed_is_found(history):
    history.issue(outcome=Unavailable())
    history.add_event("otp.issue_denied", history.calls[0], reason="store_unavailable")

    assert ["a message was sent in a call that an event calls reversed"] == history.list_rules()


def test_a_failed_delivery_of_a_message_that_may_have_been_taken_is_found(history):
    history.issue(answer="unknown", outcome=Refused("delivery-failed"))

    assert ["a message that may have been taken was reported as failed"] == history.list_rules()


def test_an_answer_without_a_message_that_was_taken_is_found(history):
    history.issue(answer="refused")

    assert ["a call was answered although no provider took its message"] == history.list_rules()


def test_an_answer_without_a_message_is_found(history):
    history.issue()
    history.submissions.clear()

    assert "a call was answered and sent no message" in list_send_rules(history)


def test_a_call_that_must_not_send_is_found(history):
    challenge = history.issue()
    call = history.call("get", Answered({"id": challenge}), challenge=challenge)
    history.send(call, challenge, SECOND_CODE, send=2)

    assert ["a call sent a message that sends none"] == list_send_rules(history)


def test_a_delivery_has_the_code_of_its_caller(history):
    history.issue(kind="deliver", code="815001", outcome=None, challenge="d07-1")
    history.edit_call(0, arguments={**history.calls[0].arguments, "code": "815002"})

    assert ["a delivery had another code than its caller's"] == history.list_rules()


def test_a_number_is_sent_to_until_it_is_blocked_and_again_when_the_block_is_lifted(history):
    history.issue()
    history.call("block_number", Answered(), tenant="", phone_number=NUMBER)
    history.refuse(
        "issue", "number-not-allowed", details={"reason": "blocked"}, phone_number=NUMBER
    )
    history.call("unblock_number", Answered(), tenant="", phone_number=NUMBER)
    history.wait(31_000)
    history.issue(SECOND_CODE)

    assert [] == history.list_rules()


def test_a_message_to_a_blocked_number_is_found(history):
    history.call("block_number", Answered(), tenant="", phone_number=NUMBER)
    history.issue()

    (violation,) = history.audit()

    assert ("a code was sent to a blocked number", (0, 1)) == (violation.rule, violation.calls)


def test_a_block_that_its_operator_gave_up_says_nothing(history):
    history.call("block_number", Canceled(), tenant="", phone_number=NUMBER)
    history.issue()

    assert [] == history.list_rules()


def stop(history, keyword="STOP", result="opted_out", own_number="447400999001"):
    history.call(
        "receive_message",
        Answered({"result": result}),
        tenant="",
        phone_number=NUMBER,
        keyword=keyword,
        own_number=own_number,
    )


@pytest.mark.parametrize(("tenant", "rules"), [("shop", 1), ("bank", 0)])
def test_a_stop_to_the_number_of_a_tenant_is_for_this_tenant(tenant, rules):
    history = HistoryBuilder(sender_tenants={"447400999001": "shop"})
    stop(history)
    history.issue(tenant=tenant)

    assert ["a code was sent to a opted-out number"] * rules == history.list_rules()


@pytest.mark.parametrize("tenant", ["shop", "bank"])
def test_a_stop_to_the_number_of_a_provider_is_for_all(history, tenant):
    stop(history)
    history.issue(tenant=tenant)

    assert ["a code was sent to a opted-out number"] == history.list_rules()


def test_a_stop_that_was_unexpected_changes_nothing(history):
    stop(history, result="unexpected")
    history.issue()

    assert [] == history.list_rules()


def test_a_start_lifts_a_stop_and_no_block(history):
    history.call("block_number", Answered(), tenant="", phone_number=NUMBER)
    stop(history)
    stop(history, keyword="START", result="opted_in")
    history.issue()

    assert ["a code was sent to a blocked number"] == history.list_rules()


@pytest.mark.parametrize(
    ("is_replicated", "rules"), [(True, ["a code was sent to a opted-out number"]), (False, [])]
)
def test_a_stop_survives_a_failover_with_enough_replicas(is_replicated, rules):
    history = HistoryBuilder(is_replicated=is_replicated)
    stop(history)
    history.add_fault(FaultKind.STORE_FAILOVER, lost_writes=9)
    history.issue()

    assert rules == history.list_rules()
