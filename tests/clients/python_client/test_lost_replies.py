"""A reply that is lost on its way is asked for once more, where the service runs the call only once."""

import json

import pyotp
import pytest

from otp_service_client import ServiceUnreachable
from tests.clients.python_client.conftest import list_codes
from tests.faulty_http_proxy import HttpFailure
from tests.store.redis_servers import find_free_port


pytestmark = pytest.mark.slow

BAD_GATEWAY = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
)
"""What nginx sends when its connection to the service breaks."""

LOSSES = {
    "lost reply": HttpFailure.LOST_REPLY,
    "half reply": HttpFailure.HALF_REPLY,
    "lost request": HttpFailure.LOST_REQUEST,
    "bad gateway": BAD_GATEWAY,
}


def list_keys(proxy):
    """Return the Idempotency-Key of each request."""
    return [request.headers.get("idempotency-key") for request in proxy.requests]


@pytest.mark.parametrize("failure", LOSSES.values(), ids=LOSSES)
def test_a_repeated_issue_sends_one_message(client, proxy, service, number, failure):
    """R83: the same key, the same body."""
    proxy.fail_next(failure)

    issued = client.issue_challenge(number, account="u-81")

    first, second = proxy.requests
    assert (first.body, list_keys(proxy)[0]) == (second.body, list_keys(proxy)[1])
    assert 1 == len(list_codes(service, number))
    assert "pending" == issued.status


@pytest.mark.parametrize("failure", LOSSES.values(), ids=LOSSES)
def test_a_lost_verify_is_repeated_under_its_key_and_verifies(
    client, proxy, service, number, failure
):
    issued = client.issue_challenge(number)
    (code,) = list_codes(service, number)
    proxy.requests.clear()
    proxy.fail_next(failure)

    verified = client.verify_challenge(issued.id, code)

    first, second = list_keys(proxy)
    assert first == second
    assert first is not None
    assert "verified" == verified.status


def test_each_call_has_a_key_of_its_own(client, proxy, number):
    issued = client.issue_challenge(number)
    for _ in range(2):
        with pytest.raises(Exception, match="malformed-code"):
            client.verify_challenge(issued.id, "1")

    assert 3 == len({*list_keys(proxy)})


def test_a_reply_that_is_lost_twice_has_an_unknown_outcome(client, proxy, service, number):
    """The exception has the key, under which the caller finds the challenge later."""
    proxy.fail_next(HttpFailure.LOST_REPLY, times=2)

    with pytest.raises(ServiceUnreachable) as lost:
        client.issue_challenge(number)
    issued = client.issue_challenge(number, idempotency_key=lost.value.idempotency_key)

    assert lost.value.outcome_unknown
    assert "its outcome is unknown" in str(lost.value)
    assert 3 == len(proxy.requests)
    assert 1 == len({*list_keys(proxy)})
    assert 1 == len(list_codes(service, number))
    assert "pending" == issued.status


def test_a_call_without_a_key_is_not_repeated(client, proxy, account):
    """A lost set of recovery codes would be a second one, and two charges of its limit."""
    proxy.fail_next(HttpFailure.LOST_REPLY)

    with pytest.raises(ServiceUnreachable) as lost:
        client.create_recovery_codes(account)

    assert lost.value.outcome_unknown
    assert 1 == len(proxy.requests)


@pytest.mark.parametrize("operation", ["get_challenge", "cancel_challenge"])
def test_reading_and_canceling_are_repeated_without_a_key(client, proxy, number, operation):
    issued = client.issue_challenge(number)
    proxy.requests.clear()
    proxy.fail_next(HttpFailure.LOST_REPLY)

    getattr(client, operation)(issued.id)

    assert [None, None] == list_keys(proxy)


def test_a_silent_service_is_asked_again_after_the_timeout(client_type, proxy, service, number):
    """The first call has ended by then, and its message is not sent a second time."""
    proxy.fail_next(HttpFailure.SILENCE)

    with client_type(proxy.url, service.keys["dev"], timeout=0.5) as client:
        issued = client.issue_challenge(number)

    assert "pending" == issued.status
    assert 1 == len(list_codes(service, number))


def test_a_call_that_still_runs_is_waited_for(client_type, otp_service, otp_inbox):
    """A number whose provider takes five seconds: a repeated issue waits, a repeated resend is 409."""
    with client_type(otp_service.url, otp_service.api_key, timeout=4) as client:
        issued = client.issue_challenge("+447700900995")
        resent = client.resend_code(issued.id)

    assert (issued.id, 1) == (resent.id, resent.sends_left)
    assert 2 == len(otp_inbox.list_messages("+447700900995"))


def test_a_confirmed_authenticator_is_not_lost_with_its_reply(client, proxy):
    created = client.create_authenticator("u-81")
    code = pyotp.TOTP(created.secret).now()
    proxy.fail_next(HttpFailure.LOST_REPLY)

    active = client.confirm_authenticator(created.authenticator, "u-81", code)

    assert "active" == active.status
    assert ["/v1/authenticators/confirm"] * 2 == [request.path for request in proxy.requests[-2:]]


def test_a_recovery_code_is_not_lost_with_its_reply(client, proxy, account):
    created = client.create_recovery_codes(account)
    proxy.fail_next(HttpFailure.LOST_REPLY)

    verified = client.verify_recovery_code(created.recovery_set, account, created.codes[0])

    assert 9 == verified.codes_left


def test_a_service_that_is_away_was_sent_nothing(client_type):
    """Also a call that may not run twice is tried twice: the first try reached nobody."""
    url = f"http://127.0.0.1:{find_free_port()}"

    with client_type(url, "worthless") as client, pytest.raises(ServiceUnreachable) as away:
        client.create_recovery_codes("u-81")

    assert not away.value.outcome_unknown
    assert "was not sent" in str(away.value)
    assert "refused" in str(away.value) or "attempts failed" in str(away.value)


def test_a_key_of_the_caller_is_sent(client, proxy, number):
    client.issue_challenge(number, idempotency_key=f"try-{number}")

    assert f"try-{number}" == proxy.requests[0].headers["idempotency-key"]


@pytest.mark.parametrize("key", ["", "a b", "é", "a\r\nX-Other: 1", "k" * 256])
def test_a_key_that_is_no_header_is_refused_before_anything_is_sent(client, proxy, number, key):
    """An empty one too: it would be replaced by a fresh one, and a repetition would run twice."""
    with pytest.raises(ValueError, match="idempotency_key must be"):
        client.issue_challenge(number, idempotency_key=key)

    assert [] == proxy.requests


def test_bodies_are_json_of_the_members_that_are_given(client, proxy, number):
    client.issue_challenge(number, account="Zoë")

    (request,) = proxy.requests
    assert {"phone_number": number, "account": "Zoë"} == json.loads(request.body)
    assert "application/json" == request.headers["content-type"]
