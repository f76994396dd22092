"""R31: one question to the risk service, and every way in which it has no answer."""

import asyncio
import gzip
import json
import logging
import time

import pytest
import standardwebhooks
from msgspec.structs import replace

from otp_service.core.risk import RiskAnswer, RiskAssessment, RiskFault
from tests.risk.conftest import QUERY, WEBHOOK_SECRET, write_answer, write_reply


DEADLINE_MS = 150
MAX_SECONDS = 2.5
"""The deadline, and time for a busy machine: each late reply here takes three seconds or more."""


@pytest.mark.parametrize("answer", ["allow", "refuse", "unknown-number"])
async def test_an_answer_is_returned_with_its_reason(risk_server, create_risk_client, answer):
    """Only `refuse` refuses."""
    risk_server.respond = write_answer({"answer": answer, "reason": "sim_swap", "more": [1]})

    got = await create_risk_client(risk_server.url).assess(QUERY)

    assert RiskAssessment(RiskAnswer(answer), "sim_swap", is_refusal=answer == "refuse") == got


async def test_a_question_has_what_the_service_needs_and_is_signed(risk_server, create_risk_client):
    """The signature is verified by the library of Standard Webhooks."""
    await create_risk_client(risk_server.url).assess(QUERY)

    (question,) = risk_server.questions
    assert "POST /check HTTP/1.1" == question.target
    verified = standardwebhooks.Webhook(WEBHOOK_SECRET).verify(question.body, question.headers)
    assert {
        "call": "issue",
        "tenant": "shop",
        "request": "request-1",
        "purpose": "login",
        "country": "GB",
        "number": "+447400123456",
        "account": "user-1",
        "client_ip": "192.0.2.7",
    } == verified


async def test_a_changed_question_has_a_wrong_signature(risk_server, create_risk_client):
    """The library refuses it, so the test above can fail."""
    await create_risk_client(risk_server.url).assess(QUERY)

    (question,) = risk_server.questions
    changed = question.body.replace(b"user-1", b"user-2")
    with pytest.raises(standardwebhooks.webhooks.WebhookVerificationError):
        standardwebhooks.Webhook(WEBHOOK_SECRET).verify(changed, question.headers)


async def test_with_a_pseudonym_the_number_is_not_in_the_question(risk_server, create_risk_client):
    """Nor a part of it."""
    await create_risk_client(risk_server.url, number="pseudonym").assess(QUERY)

    (question,) = risk_server.questions
    members = json.loads(question.body)
    assert members["number_pseudonym"].startswith("n1")
    assert "number" not in members
    assert b"7400123456" not in question.body


async def test_members_that_a_call_lacks_are_absent(risk_server, create_risk_client):
    query = replace(QUERY, account=None, client_ip=None)

    await create_risk_client(risk_server.url).assess(query)

    assert not {"account", "client_ip"} & json.loads(risk_server.questions[0].body).keys()


async def test_questions_share_a_connection(risk_server, create_risk_client):
    client = create_risk_client(risk_server.url)

    for _ in range(5):
        await client.assess(QUERY)

    assert (5, 1) == (len(risk_server.questions), risk_server.connection_count)


async def hold_reply(_):
    """Write nothing."""
    await asyncio.sleep(30)


async def drip_reply(writer):
    """Write a valid answer, an octet in 50 ms: no silence is as long as the deadline."""
    reply = b'HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{"answer":"allow"}'
    assert reply.endswith(b'{"answer":"allow"}')
    for octet in reply.ljust(400):
        writer.write(bytes([octet]))
        await writer.drain()
        await asyncio.sleep(0.05)


async def end_early(writer):
    writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n{"answer":"allow"}')
    writer.close()


async def hang_up(writer):
    writer.close()


async def stream_without_end(writer):
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"400\r\n" + b" " * 1024 + b"\r\n")
        await writer.drain()


ALLOWED = b'{"answer":"allow"}'
FAULTY_REPLIES = {
    "nothing": (hold_reply, RiskFault.TIMEOUT),
    "an octet at a time": (drip_reply, RiskFault.TIMEOUT),
    "connection closed": (hang_up, RiskFault.DISCONNECTED),
    "a part of the body": (end_early, RiskFault.DISCONNECTED),
    "a body without end": (stream_without_end, RiskFault.REPLY_TOO_BIG),
    "a long body": (write_reply("200 OK", ALLOWED.ljust(4097)), RiskFault.REPLY_TOO_BIG),
    "500": (write_reply("500 Oops", ALLOWED), RiskFault.STATUS),
    "401": (write_reply("401 No", ALLOWED), RiskFault.STATUS),
    "204": (write_reply("204 No Content"), RiskFault.STATUS),
    "201": (write_reply("201 Created", ALLOWED), RiskFault.STATUS),
    "not JSON": (write_reply("200 OK", b"<html>"), RiskFault.UNREADABLE),
    "empty": (write_reply("200 OK"), RiskFault.UNREADABLE),
    "a list": (write_answer(["allow"]), RiskFault.UNREADABLE),
    "no answer": (write_answer({"reason": "sim_swap"}), RiskFault.UNREADABLE),
    "another answer": (write_answer({"answer": "perhaps"}), RiskFault.UNREADABLE),
    "our own word": (write_answer({"answer": "failed"}), RiskFault.UNREADABLE),
    "upper case": (write_answer({"answer": "ALLOW"}), RiskFault.UNREADABLE),
    "a number as reason": (write_answer({"answer": "allow", "reason": 1}), RiskFault.UNREADABLE),
    "deep": (
        write_reply("200 OK", b'{"x":' + b"[" * 4000 + b',"answer":"allow"}'),
        RiskFault.UNREADABLE,
    ),
    "not UTF-8": (write_reply("200 OK", b'{"answer":"\xff"}'), RiskFault.UNREADABLE),
    "compressed": (
        write_reply("200 OK", gzip.compress(ALLOWED.ljust(10**6)), "content-encoding: gzip\r\n"),
        RiskFault.UNREADABLE,
    ),
    "not HTTP": (lambda writer: _write_octets(writer, b"SSH-2.0-x\r\n"), RiskFault.DISCONNECTED),
}


async def _write_octets(writer, octets):
    writer.write(octets)
    writer.close()


@pytest.mark.parametrize("on_failure", ["allow", "refuse"])
@pytest.mark.parametrize("reply", FAULTY_REPLIES)
async def test_anything_but_a_valid_answer_in_time_is_a_failure(
    risk_server, create_risk_client, reply, on_failure
):
    """`on_failure` decides, and nothing that the reply has. It ends with the deadline."""
    risk_server.respond, fault = FAULTY_REPLIES[reply]
    deadline = {"deadline_milliseconds": DEADLINE_MS} if fault is RiskFault.TIMEOUT else {}
    client = create_risk_client(risk_server.url, on_failure, **deadline)
    began = time.monotonic()

    got = await client.assess(QUERY)

    expected = RiskAssessment(RiskAnswer.FAILED, fault.value, is_refusal=on_failure == "refuse")
    assert expected == got
    assert fault is not RiskFault.TIMEOUT or time.monotonic() - began < MAX_SECONDS
    assert 1 == len(risk_server.questions)  # it is never asked a second time


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect"])
async def test_a_redirect_is_not_followed(risk_server, create_risk_client, status):
    """A question has a number: it goes to the configured address alone."""
    location = f"location: {risk_server.url}/elsewhere\r\n"
    risk_server.respond = write_reply(status, ALLOWED, location)

    got = await create_risk_client(risk_server.url).assess(QUERY)

    assert RiskAssessment(RiskAnswer.FAILED, "redirect") == got
    assert ["POST /check HTTP/1.1"] == [question.target for question in risk_server.questions]


async def test_a_service_that_does_not_listen_is_a_failure(create_risk_client):
    """Nothing listens on port 1."""
    got = await create_risk_client("http://127.0.0.1:1/check", "refuse").assess(QUERY)

    assert RiskAssessment(RiskAnswer.FAILED, "connect-error", is_refusal=True) == got


async def test_questions_that_wait_for_a_connection_end_at_the_deadline_too(
    risk_server, create_risk_client
):
    """There are two connections, and both hang: the wait for one is part of the deadline."""
    risk_server.respond = hold_reply
    client = create_risk_client(risk_server.url, deadline_milliseconds=300)
    began = time.monotonic()

    tasks = [asyncio.create_task(client.assess(QUERY)) for _ in range(20)]
    while risk_server.connection_count < 2:  # noqa: ASYNC110  # they are being opened
        await asyncio.sleep(0)
    for _ in range(100):  # a third one would be opened in these turns of the loop
        await asyncio.sleep(0)
    open_count = risk_server.connection_count
    answers = await asyncio.gather(*tasks)

    assert 2 == open_count
    assert {RiskAssessment(RiskAnswer.FAILED, "timeout")} == {*answers}
    assert time.monotonic() - began < MAX_SECONDS


async def test_the_next_question_is_answered_after_a_failure(risk_server, create_risk_client):
    """A late answer to a question that was given up is never read as that to the next one."""
    client = create_risk_client(risk_server.url, deadline_milliseconds=DEADLINE_MS)

    async def answer_late(writer):
        await asyncio.sleep(2 * DEADLINE_MS / 1000)
        await write_answer({"answer": "refuse", "reason": "late"})(writer)

    risk_server.respond = answer_late
    first = await client.assess(QUERY)
    risk_server.respond = write_answer({"answer": "allow", "reason": "second"})
    await asyncio.sleep(2 * DEADLINE_MS / 1000)  # until the late answer was written
    second = await create_risk_client(risk_server.url).assess(QUERY)

    assert (RiskAnswer.FAILED, RiskAnswer.ALLOW) == (first.answer, second.answer)
    assert "second" == second.reason
    assert 2 == risk_server.connection_count


async def test_a_canceled_question_ends_and_is_no_failure(risk_server, create_risk_client):
    """A stop of the process is not taken for an answer."""
    risk_server.respond = hold_reply
    task = asyncio.create_task(create_risk_client(risk_server.url).assess(QUERY))
    while not risk_server.questions:  # noqa: ASYNC110  # the question is on its way
        await asyncio.sleep(0.005)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_unexpected_error_is_a_failure_whose_text_is_not_logged(
    create_risk_client, caplog
):
    """R68: the text of an exception may contain the number."""
    client = create_risk_client("http://127.0.0.1:1/check", "refuse")

    def fail():
        raise RuntimeError("+447400123456")

    client._generate_id = fail
    with caplog.at_level(logging.DEBUG):
        got = await client.assess(QUERY)

    assert RiskAssessment(RiskAnswer.FAILED, "internal", is_refusal=True) == got
    assert "RuntimeError" in caplog.text
    assert "7400123456" not in caplog.text


def test_the_repr_of_a_question_does_not_show_a_person():
    assert "RiskQuery()" == repr(QUERY)
