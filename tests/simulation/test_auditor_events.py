"""Each change has exactly one event, each event is a change, and sequences have no hole."""

import pytest

from tests.simulation.history import Answered, Canceled, FaultKind, Refused, Unavailable
from tests.simulation.history_builder import CODE, NUMBER, WRONG_CODE, HistoryBuilder


@pytest.fixture
def history():
    return HistoryBuilder()


@pytest.fixture
def login(history):
    """A login with one wrong code: epoch, issued, sent, attempted, rejected, attempted, verified."""
    challenge = history.issue()
    history.verify(challenge, WRONG_CODE)
    history.verify(challenge)
    return history


def list_event_rules(history):
    return [found.rule for found in history.audit() if found.promise == "events"]


def drop_event(history, index):
    """Delete an event, and close the gap that it leaves."""
    del history.events[index]
    for later in range(index, len(history.events)):
        history.edit_event(later, sequence=history.events[later].sequence - 1)


def change_members(history, index, **members):
    history.edit_event(index, members={**history.events[index].members, **members})


def test_a_login_has_its_events(login):
    assert 7 == len(login.events)
    assert [] == login.list_rules()


# ---- the order of the log


@pytest.mark.parametrize("index", [1, 3, 5])
def test_a_hole_inside_of_an_epoch_is_found(login, index):
    for later in range(index, len(login.events)):
        login.edit_event(later, sequence=login.events[later].sequence + 1)

    assert ["a sequence has a hole inside of an epoch"] == login.list_rules()


def test_an_event_at_two_positions_is_found(login):
    """This is what a service does that repeats a commit without the id of its operation."""
    last = login.events[-1]
    login.add_event("otp.verified")
    login.edit_event(-1, members=last.members)

    assert "one event is at two positions" in list_event_rules(login)


def test_a_forged_event_is_found(login):
    login.edit_event(-1, is_authentic=False)

    (violation,) = login.audit()

    assert "an event has a MAC that is not a worker's" == violation.rule
    assert ("partition 7", (2,)) == (violation.subject, violation.calls)


def test_an_entry_that_is_older_than_the_one_before_is_found(login):
    login.edit_event(-1, at=login.events[-2].at - 1)

    assert ["an entry is older than the one before it"] == login.list_rules()


def test_a_new_server_begins_an_epoch(login):
    login.add_fault(FaultKind.STORE_RESTART)
    login.wait(31_000)
    login.issue()

    assert [] == login.list_rules()


def test_an_epoch_without_a_new_server_is_found(login):
    login.epoch += 1
    login.add_event("log.epoch")

    assert ["an epoch began without a new server"] == login.list_rules()


def test_an_epoch_that_is_not_declared_is_found(login):
    change_members(login, 0, type="otp.canceled")

    assert ["an epoch began without saying so"] == login.list_rules()


# ---- changes and their events


@pytest.mark.parametrize("index", range(1, 7))
def test_a_change_without_its_event_is_found(login, index):
    """This is what a service does that appends an event outside of the commit, and then fails."""
    kind = login.events[index].members["type"]
    drop_event(login, index)

    (violation,) = login.audit()

    assert "a change has no event" == violation.rule
    assert f"0 of 1 {kind}" == violation.details


@pytest.mark.parametrize("index", range(1, 7))
def test_a_change_with_two_events_is_found(login, index):
    members = login.events[index].members
    login.add_event(str(members["type"]))
    change_members(login, -1, **{**members, "id": "another"})

    assert "a change has two events" in list_event_rules(login)


@pytest.mark.parametrize(("is_replicated", "rules"), [(True, 1), (False, 0)])
def test_a_failover_loses_events_only_without_replicas(is_replicated, rules):
    history = HistoryBuilder(is_replicated=is_replicated)
    challenge = history.issue()
    history.verify(challenge)
    drop_event(history, 4)
    history.add_fault(FaultKind.STORE_FAILOVER, lost_writes=2)

    assert ["a change has no event"] * rules == history.list_rules()


def test_the_event_of_a_refusal_may_be_lost_in_any_failover():
    history = HistoryBuilder(is_replicated=True)
    challenge = history.issue()
    history.verify(challenge, WRONG_CODE)
    drop_event(history, 4)
    history.add_fault(FaultKind.STORE_FAILOVER, lost_writes=2)

    assert [] == history.list_rules()


def test_a_call_whose_outcome_is_unknown_may_have_changed_something(history):
    call = history.call("issue", Canceled(), phone_number=NUMBER)
    history.add_event("otp.issued", call, "c07-1")

    assert [] == history.list_rules()


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("incorrect-code", "otp.verified"),
        ("rate-limited", "otp.rejected"),
        ("challenge-expired", "otp.rejected"),
    ],
)
def test_an_event_that_contradicts_the_answer_is_found(history, reason, kind):
    challenge = history.issue()
    call = history.call("verify", Refused(reason), challenge=challenge, code=CODE)
    history.add_event(kind, call, challenge)

    assert "an event says otherwise than the answer" in list_event_rules(history)


def test_an_issue_that_was_refused_and_has_an_event_is_found(history):
    call = history.refuse("issue", "rate-limited", phone_number=NUMBER)
    history.add_event("otp.issued", call, "c07-1")

    assert ["an event says otherwise than the answer"] == history.list_rules()


def test_an_event_of_another_challenge_is_found(login):
    change_members(login, -1, challenge="c07-other")

    assert "an event names another challenge than its call" in list_event_rules(login)


def test_an_event_of_another_tenant_is_found(login):
    change_members(login, -1, tenant="bank")

    assert ["an event names another tenant than its call"] == login.list_rules()


def test_an_event_of_no_call_is_found(login):
    change_members(login, -1, request="another", id="another")

    assert "an event names no call" in list_event_rules(login)


def test_a_challenge_that_began_or_ended_twice_is_found(login):
    call = login.call("verify", Unavailable(), challenge=login.calls[1].arguments["challenge"])
    login.add_event("otp.verified", call, str(call.arguments["challenge"]))

    assert ["events say that a challenge began or ended twice"] == login.list_rules()


def test_a_repeated_answer_is_no_second_end(history):
    challenge = history.issue()
    call = history.verify(challenge, idempotency_key="k")
    history.repeat(call.number)

    assert [] == history.list_rules()


# ---- refusals


def refuse_many(history, times, *, recorded):
    challenge = history.issue()
    history.verify(challenge)
    for number in range(times):
        history.refuse(
            *("verify", "challenge-already-verified"),
            challenge=challenge,
            code=CODE,
            is_recorded=number < recorded,
        )


def test_a_refusal_without_its_event_is_found(history):
    refuse_many(history, 3, recorded=2)

    assert ["a refusal has not one event"] == history.list_rules()


def test_a_refusal_with_two_events_is_found(history):
    refuse_many(history, 1, recorded=1)
    history.add_event("otp.verify_denied", history.calls[-1])

    assert ["a refusal has not one event"] == history.list_rules()


def test_refusals_may_be_folded_after_the_tenth(history):
    refuse_many(history, 14, recorded=10)

    assert [] == history.list_rules()


def test_refusals_are_folded_while_the_archive_is_full(history):
    refuse_many(history, 3, recorded=0)
    history.add_fault(FaultKind.ARCHIVE_FULL, at=history.now - 5_000)

    assert [] == history.list_rules()


def test_an_answered_call_with_the_event_of_a_refusal_is_found(history):
    history.issue()
    history.add_event("otp.issue_denied", history.calls[0], reason="rate_limited")

    assert ["an event says otherwise than the answer"] == history.list_rules()


def test_each_message_has_its_event(history):
    challenge = history.issue(answer="refused")
    history.send(history.calls[0], challenge, "4711000001", ordinal=2)
    assert [] == history.list_rules()

    drop_event(history, 2)
    assert ["a change has no event"] == history.list_rules()


def test_an_authenticator_has_its_events(history):
    token = history.confirm()
    history.wait(30_000)
    history.verify_app(token)
    assert [] == history.list_rules()

    drop_event(history, len(history.events) - 1)
    assert ["a change has no event"] == history.list_rules()


def test_a_recovery_code_has_its_events(history):
    codes = history.create_recovery_set()
    history.use_recovery_code("r1.new", codes[0])
    history.call("cancel", Answered(), challenge="c07-unknown")
    assert [] == history.list_rules()

    drop_event(history, 1)
    assert ["a change has no event"] == history.list_rules()
