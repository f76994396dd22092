"""The calls of the actors as requests, and what is observed in several processes as one history."""

import json

import pytest

from tests.processes import HttpResponse
from tests.simulation.actors.person import NUMBERS
from tests.simulation.history import (
    Answered,
    AuditSettings,
    Failed,
    FaultKind,
    FaultRecord,
    Refused,
    StoredEvent,
    Unavailable,
)
from tests.simulation.live.crowd import CROWD_COUNT, PROBE_CROWD, Aliases
from tests.simulation.live.http_calls import build_http_call, describe_response
from tests.simulation.live.live_configuration import LiveConfiguration
from tests.simulation.live.live_installation import build_trace
from tests.simulation.live.observer import Observation
from tests.simulation.live.record_links import link_records
from tests.simulation.recorder import Recorder


CHALLENGE = f"c07-{'0' * 32}"
CONFIGURATION = LiveConfiguration(
    redis='url = "redis://127.0.0.1:1"', gateway_url="http://127.0.0.1:1", required_replicas=2
)


def build_response(status, body, **headers):
    encoded = b"" if body is None else json.dumps(body).encode()
    return HttpResponse(status, headers, encoded)


def build_problem(status, slug, *, retry_after=None, **members):
    headers = {"content-type": "application/problem+json"}
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    return HttpResponse(
        status, headers, json.dumps({"type": f"/problems/{slug}", **members}).encode()
    )


def test_a_verify_names_its_challenge_key_and_trace():
    arguments = {"challenge": CHALLENGE, "code": "123456", "idempotency_key": "k-1"}

    request = build_http_call("verify", arguments, "shop", CONFIGURATION, build_trace(4)).decode()

    head, _, body = request.partition("\r\n\r\n")
    assert head.startswith(f"POST /v1/challenges/{CHALLENGE}/verify HTTP/1.1")
    assert "Idempotency-Key: k-1" in head
    assert f"traceparent: 00-{build_trace(4)}-" in head
    assert f"Bearer {CONFIGURATION.api_keys['shop']}" in head
    assert {"code": "123456"} == json.loads(body)


def test_only_a_trusted_receipt_has_the_secret_of_its_vendor():
    arguments = {"provider": "alpha", "reference": "shop.x.1.1", "status": "delivered"}

    trusted, forged = (
        build_http_call("receive_receipt", {**arguments, "trusted": each}, "", CONFIGURATION, "1")
        for each in (True, False)
    )

    assert CONFIGURATION.callback_key.encode() in trusted
    assert CONFIGURATION.callback_key.encode() not in forged


def test_an_answer_has_its_instants_in_milliseconds():
    body = {"id": CHALLENGE, "expires_at": "2026-11-28T23:12:11.902Z", "phone_number": "+44***"}

    outcome = describe_response(build_response(201, body))

    assert Answered({"id": CHALLENGE, "expires_at": 1_795_907_531_902}) == outcome


def test_an_answer_without_a_body_has_no_value():
    assert Answered() == describe_response(build_response(204, None))


def test_problems_are_the_refusals_of_the_contract():
    limited = build_problem(429, "rate-limited", retry_after=30, limit="CooldownPerNumber")
    incorrect = build_problem(422, "incorrect-code", attempts_left=3)
    closed = build_problem(503, "store-unavailable", retry_after=1)

    assert Refused("rate-limited", 30, "CooldownPerNumber") == describe_response(limited)
    assert Refused("incorrect-code", details={"attempts_left": 3}) == describe_response(incorrect)
    assert Unavailable("store-unavailable", 1) == describe_response(closed)
    assert isinstance(describe_response(build_problem(500, "internal-error")), Failed)


def test_crowds_share_no_prefix_account_and_network():
    crowds = [Aliases(crowd) for crowd in range(CROWD_COUNT)]

    prefixes = {crowd.rename_number("+447400123450")[:-4] for crowd in crowds}
    addresses = {crowd.rename_address("198.51.100.7") for crowd in crowds}
    networks = {crowd.rename_address("2001:db8::17")[:15] for crowd in crowds}

    assert CROWD_COUNT == len(prefixes) == len(addresses)
    assert CROWD_COUNT == len(networks)
    assert CROWD_COUNT == len({crowd.rename_account("shop-user-1") for crowd in crowds})


@pytest.mark.parametrize("number", NUMBERS)
def test_the_probes_share_no_hundred_thousand_numbers_with_a_crowd(number):
    """The brake refused them for an hour: of an operator block, a person logs in at last, and too late."""
    others = {Aliases(crowd).rename_number(number)[:-5] for crowd in range(CROWD_COUNT)}

    assert Aliases(PROBE_CROWD).rename_number(number)[:-5] not in others


def test_the_records_of_one_call_are_joined_by_its_trace():
    """The service has drawn another request id, and the vendor does not know whose message it took."""
    recorder = Recorder(lambda: 1_000)
    call = recorder.start_call(
        actor="a", tenant="shop", worker="a", kind="verify", arguments={"challenge": CHALLENGE}
    )
    recorder.end_call(call.number, Answered())
    recorder.record_submission(
        provider="alpha",
        tenant="shop",
        number="+447400123450",
        code="123456",
        challenge=CHALLENGE,
        send=1,
        ordinal=1,
        is_taken=True,
        answer="accepted",
    )
    trace, reference = build_trace(call.number), f"shop.{CHALLENGE}.1.1"
    event = StoredEvent(
        partition=7, at=1_001, sequence=1, epoch=1, members={"request": "drawn", "trace": trace}
    )
    observed = {"at": 1_000, "trace": trace, "pid": 1}
    observations = [
        Observation(kind="asked", reference=reference, **observed),
        Observation(kind="learned", reference=reference, answer="unknown", **observed),
        Observation(kind="comparison", code="123456", salt="00ff", **observed),
    ]
    fault = FaultRecord(kind=FaultKind.LINK_CUT, at=1_000, until=1_000)

    history = link_records(
        recorder.build_history(1, AuditSettings(tenants={}), events=[event]), observations, [fault]
    )

    (submission,), (comparison,) = history.submissions, history.comparisons
    assert (call.number, "unknown") == (submission.call, submission.answer)
    assert (call.number, CHALLENGE, "a") == (
        comparison.call,
        comparison.subject,
        comparison.worker,
    )
    assert call.request == history.events[0].members["request"]
    assert (fault,) == history.faults


def test_a_worker_that_was_killed_has_learned_nothing_of_its_message():
    recorder = Recorder(lambda: 1_000)
    recorder.record_submission(
        provider="alpha",
        tenant="shop",
        number="+447400123450",
        code="123456",
        challenge=CHALLENGE,
        send=1,
        ordinal=1,
        is_taken=True,
        answer="accepted",
    )

    history = link_records(recorder.build_history(1, AuditSettings(tenants={})), [], [])

    assert (None, None) == (history.submissions[0].call, history.submissions[0].answer)


def test_a_message_that_did_not_arrive_is_one_that_a_provider_was_asked_to_send():
    """On a busy machine the connection to the gateway takes longer than the service waits."""
    recorder = Recorder(lambda: 1_000)
    call = recorder.start_call(actor="a", tenant="shop", worker="a", kind="issue", arguments={})
    observed = {"at": 1_000, "trace": build_trace(call.number), "pid": 1}
    asked = {"provider": "alpha", "number": "+447400123450", "code": "123456"}
    reference = f"shop.{CHALLENGE}.1.2"
    observations = [
        Observation(kind="asked", reference=reference, **asked, **observed),
        Observation(kind="learned", reference=reference, answer="unknown", **observed),
    ]

    history = link_records(recorder.build_history(1, AuditSettings(tenants={})), observations, [])

    (submission,) = history.submissions
    assert (False, "unknown", call.number) == (
        submission.is_taken,
        submission.answer,
        submission.call,
    )
    assert (1, 2, "+447400123450") == (submission.send, submission.ordinal, submission.number)


def test_a_503_shows_that_the_store_did_not_answer_until_the_faults_are_over():
    now = 1_000
    recorder = Recorder(lambda: now)
    for is_calm in (False, True):
        if is_calm:
            recorder.record_calm()
        call = recorder.start_call(actor="a", tenant="shop", worker="a", kind="issue", arguments={})
        now += 500
        recorder.end_call(call.number, Unavailable())

    history = link_records(recorder.build_history(1, AuditSettings(tenants={})), [], [])

    (outage,) = history.faults
    assert (FaultKind.LINK_SLOW, 1_000, 1_500) == (outage.kind, outage.at, outage.until)


def test_the_answer_to_a_stop_has_the_result_that_its_event_names():
    recorder = Recorder(lambda: 1_000)
    call = recorder.start_call(
        actor="a", tenant="", worker="a", kind="receive_message", arguments={}
    )
    recorder.end_call(call.number, Answered())
    members = {"type": "number.opted_out", "trace": build_trace(call.number)}
    event = StoredEvent(partition=7, at=1_001, sequence=1, epoch=1, members=members)

    history = link_records(
        recorder.build_history(1, AuditSettings(tenants={}), events=[event]), [], []
    )

    assert Answered({"result": "opted_out"}) == history.calls[0].outcome
