"""The recorder writes what happened, with true instants and the calls that caused it."""

import asyncio

import msgspec
import pytest

from tests.simulation.history import (
    Answered,
    AuditSettings,
    Canceled,
    Crashed,
    FaultKind,
    History,
    Refused,
    TenantRules,
)
from tests.simulation.recorder import Recorder


class SteppedClock:
    """Milliseconds of true time that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000

    def read_ms(self) -> int:
        return self.now


@pytest.fixture
def clock():
    return SteppedClock()


@pytest.fixture
def recorder(clock):
    return Recorder(clock.read_ms)


SETTINGS = AuditSettings(tenants={"shop": TenantRules(limits={"CooldownPerNumber": ((1, 30),)})})


def start_verify(recorder, worker="a1", challenge="c07-1"):
    return recorder.start_call(
        actor="guesser",
        tenant="shop",
        worker=worker,
        kind="verify",
        arguments={"challenge": challenge, "code": "123456"},
    )


def test_a_call_has_the_instants_of_its_start_and_its_end(recorder, clock):
    call = start_verify(recorder)
    clock.now = 1_250

    recorder.end_call(call.number, Refused("incorrect-code", details={"attempts_left": 4}))

    (recorded,) = recorder.build_history(1, SETTINGS).calls
    assert (1_000, 1_250) == (recorded.started_at, recorded.ended_at)
    assert Refused("incorrect-code", details={"attempts_left": 4}) == recorded.outcome


def test_a_call_that_never_ends_has_no_outcome(recorder):
    start_verify(recorder)

    (recorded,) = recorder.build_history(1, SETTINGS).calls

    assert (None, None) == (recorded.ended_at, recorded.outcome)


def test_a_crash_ends_the_running_calls_of_its_worker_alone_and_for_good(recorder):
    ended, running, other = (start_verify(recorder, worker) for worker in ("a1", "a1", "b1"))
    recorder.end_call(ended.number, Answered())

    recorder.crash_worker("a1")
    recorder.end_call(running.number, Canceled())  # the task of the call is canceled later
    recorder.end_call(other.number, Answered())

    history = recorder.build_history(1, SETTINGS)
    assert [Answered(), Crashed(), Answered()] == [call.outcome for call in history.calls]
    assert [(FaultKind.WORKER_CRASH, "a1", 1_000)] == [
        (fault.kind, fault.target, fault.until) for fault in history.faults
    ]


async def test_what_a_call_causes_in_a_task_of_its_own_names_the_call(recorder):
    """Calls are shielded from cancellation in tasks, and two actors run at the same time."""

    async def run(challenge):
        call = start_verify(recorder, challenge=challenge)
        await asyncio.sleep(0)

        async def compare():
            recorder.record_comparison("a1", "123456", is_right=False)

        await asyncio.create_task(compare())
        recorder.record_submission(
            provider="fast",
            tenant="shop",
            number="+447400123456",
            code="654321",
            challenge=challenge,
            send=1,
            ordinal=1,
            is_taken=True,
        )
        return call.number

    numbers = await asyncio.gather(run("c07-1"), run("c07-2"))

    history = recorder.build_history(1, SETTINGS)
    assert [0, 1] == numbers
    assert [(0, "c07-1"), (1, "c07-2")] == [(c.call, c.subject) for c in history.comparisons]
    assert [(0, "c07-1"), (1, "c07-2")] == [(s.call, s.challenge) for s in history.submissions]


def test_a_submission_is_recorded_before_its_answer(recorder):
    """A worker that dies while it waits has still sent the message."""
    index = recorder.record_submission(
        provider="fast",
        tenant="shop",
        number="+447400123456",
        code="654321",
        challenge="c07-1",
        send=1,
        ordinal=1,
        is_taken=True,
    )
    before = recorder.build_history(1, SETTINGS).submissions[0].answer

    recorder.answer_submission(index, "unknown", "unknown")

    after = recorder.build_history(1, SETTINGS).submissions[0]
    assert (None, "unknown", "unknown") == (before, after.answer, after.fault)


def test_a_fault_lasts_until_it_is_ended(recorder, clock):
    down = recorder.start_fault(FaultKind.STORE_DOWN, "store")
    recorder.start_fault(FaultKind.STORE_FAILOVER, "replica", lost_writes=7)
    clock.now = 3_000
    recorder.end_fault(down)
    recorder.record_calm()
    clock.now = 9_000

    history = recorder.build_history(1, SETTINGS)

    assert [(1_000, 3_000, 0), (1_000, None, 7)] == [
        (fault.at, fault.until, fault.lost_writes) for fault in history.faults
    ]
    assert (1_000, 3_000, 9_000) == (history.started_at, history.calm_since, history.ended_at)


def test_a_record_does_not_change_with_the_arguments_of_its_caller(recorder):
    arguments = {"challenge": "c07-1"}
    recorder.start_call(actor="login", tenant="shop", worker="a1", kind="get", arguments=arguments)

    arguments["challenge"] = "c07-2"

    assert {"challenge": "c07-1"} == recorder.build_history(1, SETTINGS).calls[0].arguments


def test_a_history_survives_json(recorder):
    """A failing history can be kept, and judged again."""
    call = start_verify(recorder)
    recorder.end_call(call.number, Refused("rate-limited", retry_after=30, limit="SendsOverall"))
    recorder.start_fault(FaultKind.STORE_DOWN, "store")
    history = recorder.build_history("seed", SETTINGS)

    assert history == msgspec.json.decode(msgspec.json.encode(history), type=History)
