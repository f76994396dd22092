"""Both clients make every call of a login to a real `otp-service dev`."""

from datetime import UTC, datetime, timedelta

import pyotp
import pytest

from otp_service_client import (
    AuthenticatorNotConfirmed,
    ChallengeAlreadyVerified,
    ChallengeCanceled,
    ChallengeLocked,
    ChallengeNotFound,
    CodeAlreadyUsed,
    CodeRefused,
    DeliveryFailed,
    IncorrectCode,
    InvalidPhoneNumber,
    InvalidRequest,
    MalformedCode,
    NotFound,
    NumberRefused,
    RateLimited,
    Unauthenticated,
    Undeliverable,
)
from tests.clients.python_client.conftest import change_code, list_codes
from tests.processes import send_request


pytestmark = pytest.mark.slow


def test_a_code_is_verified_once(client, service, number):
    """The result has instants, and the reply to the second call is the class of its problem."""
    issued = client.issue_challenge(number, account="u-81", client_ip="203.0.113.9", locale="de")
    (code,) = list_codes(service, number)

    verified = client.verify_challenge(issued.id, code, account="u-81", client_ip="203.0.113.9")
    with pytest.raises(ChallengeAlreadyVerified) as refused:
        client.verify_challenge(issued.id, code, account="u-81")

    assert ("pending", "login", "u-81") == (issued.status, issued.purpose, issued.account)
    assert timedelta(minutes=5) == issued.expires_at - issued.created_at
    assert ("verified", issued.id) == (verified.status, verified.id)
    assert abs(datetime.now(UTC) - verified.verified_at) < timedelta(minutes=1)
    assert (410, "challenge-already-verified") == (refused.value.status, refused.value.slug)
    assert isinstance(refused.value, CodeRefused)


def test_a_wrong_code_is_an_exception_with_the_attempts_that_are_left(client, service, number):
    """After five of them the challenge is locked."""
    issued = client.issue_challenge(number)
    wrong = change_code(list_codes(service, number)[0])
    left = []
    for _ in range(5):
        with pytest.raises(IncorrectCode) as refused:
            client.verify_challenge(issued.id, wrong)
        left.append(refused.value.attempts_left)

    with pytest.raises(ChallengeLocked):
        client.verify_challenge(issued.id, wrong)

    assert [4, 3, 2, 1, 0] == left
    assert "locked" == client.get_challenge(issued.id).status


def test_a_code_of_another_account_or_purpose_is_refused(client, service, number):
    issued = client.issue_challenge(
        number, purpose="payment", account="u-81", known=True, bot_check="passed"
    )
    (code,) = list_codes(service, number)

    for other in ({"account": "u-82"}, {"purpose": "login"}, {"phone_number": "+447700900999"}):
        with pytest.raises(IncorrectCode):
            client.verify_challenge(issued.id, code, **other)


def test_a_code_of_another_product_is_sent(client, service, number):
    """Its reprs show neither the code nor the number, and it is no challenge."""
    sent = client.create_delivery(number, "471093", valid_minutes=10, account="u-81")

    assert ["471093"] == list_codes(service, number)
    assert sent == client.get_delivery(sent.id)
    assert "submitted" == sent.delivery.status
    assert "471093" not in repr(sent)
    assert sent.phone_number not in repr(sent)
    with pytest.raises(ChallengeNotFound):
        client.get_challenge(sent.id)
    with pytest.raises(InvalidRequest) as refused:
        client.create_delivery(number, "Hello")
    assert ["code"] == [error.path for error in refused.value.errors]


def test_a_malformed_code_costs_no_attempt(client, number):
    """Also one that is no Unicode, as a JSON body of a browser can contain it."""
    issued = client.issue_challenge(number)

    with pytest.raises(MalformedCode) as refused:
        client.verify_challenge(issued.id, "12")
    with pytest.raises(InvalidRequest):
        client.verify_challenge(issued.id, "12345\ud800")

    assert refused.value.detail.startswith("The code must be")
    assert 5 == client.get_challenge(issued.id).attempts_left


def test_the_cooldown_says_how_long_to_wait(client, number):
    issued = client.issue_challenge(number)

    with pytest.raises(RateLimited) as refused:
        client.resend_code(issued.id)

    assert "CooldownPerNumber" == refused.value.limit
    assert 0 < refused.value.retry_after <= 30
    assert issued.resend_at > issued.created_at


def test_a_canceled_challenge_accepts_nothing(client, service, number):
    issued = client.issue_challenge(number)
    (code,) = list_codes(service, number)

    assert client.cancel_challenge(issued.id) is None
    client.cancel_challenge(issued.id)
    with pytest.raises(ChallengeCanceled):
        client.verify_challenge(issued.id, code)


@pytest.mark.parametrize(
    "challenge_id",
    [
        "c00-" + "0" * 32,
        "",
        "..",
        "../numbers/unlock",
        "c00/resend",
        "c%2Fd",
        "c?d",
        "c\n",
        "é",
        "\ud800",
    ],
)
def test_an_id_that_is_no_challenge_is_not_found(client, proxy, challenge_id):
    """An id that would be another path is sent nowhere."""
    with pytest.raises(ChallengeNotFound):
        client.verify_challenge(challenge_id, "123456")
    with pytest.raises(ChallengeNotFound):
        client.cancel_challenge(challenge_id)

    assert {f"/v1/challenges/{challenge_id}"} >= {
        request.path.removesuffix("/verify") for request in proxy.requests
    }


def test_an_id_that_is_no_delivery_is_not_found(client, proxy):
    with pytest.raises(NotFound):
        client.get_delivery("d00-" + "0" * 32)
    with pytest.raises(NotFound):
        client.get_delivery("../challenges/c00-" + "0" * 32)
    with pytest.raises(NotFound):
        client.get_delivery("d00/more")

    assert 1 == len(proxy.requests)


def test_an_invalid_number_and_an_invalid_member_are_classes_of_their_own(client):
    with pytest.raises(InvalidPhoneNumber) as number:
        client.issue_challenge("07700 900123")
    with pytest.raises(InvalidRequest) as member:
        client.issue_challenge("+447700900123", purpose="Log in", client_ip="nowhere")

    assert isinstance(number.value, NumberRefused)
    assert {"purpose", "client_ip"} == {error.path for error in member.value.errors}
    assert "purpose: must be" in str(member.value)


def test_what_providers_refuse_is_a_class_of_its_own(client, service):
    """By the numbers with outcomes of docs/testing.md. No provider took the second message."""
    send_request(service.admin_port, "POST", "/reset", body={})
    with pytest.raises(Undeliverable) as refused:
        client.issue_challenge("+447700900991")
    with pytest.raises(DeliveryFailed) as failed:
        client.issue_challenge("+447700900992")

    assert "unknown-subscriber" == refused.value.reason
    assert "canceled" == client.get_challenge(failed.value.id).status


def test_a_wrong_key_is_unauthenticated(client_type, proxy):
    with client_type(proxy.url, "worthless") as client, pytest.raises(Unauthenticated):
        client.get_challenge("c00-" + "0" * 32)


def test_an_authenticator_is_created_confirmed_and_verified(client):
    """A code is accepted once; the confirming one too."""
    created = client.create_authenticator("u-81", name="alice@example.com")
    app = pyotp.TOTP(created.secret)
    now = datetime.now(UTC)
    earlier, code = app.at(now - timedelta(seconds=30)), app.at(now)

    with pytest.raises(AuthenticatorNotConfirmed):
        client.verify_authenticator(created.authenticator, "u-81", code)
    active = client.confirm_authenticator(created.authenticator, "u-81", earlier)
    verified = client.verify_authenticator(
        active.authenticator, "u-81", code, purpose="login", client_ip="203.0.113.9"
    )
    with pytest.raises(CodeAlreadyUsed):
        client.verify_authenticator(verified.authenticator, "u-81", code)

    assert created.uri.startswith("otpauth://totp/")
    assert created.qr_svg.startswith("<svg")
    assert now < created.expires_at
    assert ("active", "verified") == (active.status, verified.status)


def test_a_secret_is_imported(client):
    secret = pyotp.random_base32()

    created = client.create_authenticator("u-81", secret=secret)

    assert secret == created.secret.replace(" ", "").rstrip("=")


def test_a_recovery_code_is_verified_once(client, account):
    created = client.create_recovery_codes(account)
    first, second, *_ = created.codes

    verified = client.verify_recovery_code(created.recovery_set, account, first)
    with pytest.raises(CodeAlreadyUsed):
        client.verify_recovery_code(verified.recovery_set, account, first)
    again = client.verify_recovery_code(
        verified.recovery_set, account, second, client_ip="203.0.113.9"
    )

    assert 10 == len(created.codes)
    assert (9, 8) == (verified.codes_left, again.codes_left)


def test_events_are_listed_and_searched(client, number):
    """Instants go as RFC 3339; the cursor of a page is the next one."""
    began = datetime.now(UTC) - timedelta(seconds=5)
    issued = client.issue_challenge(number, account=f"account of {number}")

    found = client.list_events(challenge=issued.id, since=began, type="otp.issued,otp.sent")
    newest = client.list_events(challenge=issued.id, limit=1)
    next_page = client.list_events(challenge=issued.id, limit=1, cursor=newest.next)
    of_number = client.search_events(phone_number=number, type="otp.issued", until=began)
    of_account = client.search_events(account=f"account of {number}", type="otp.issued")

    assert ["otp.sent", "otp.issued"] == [event["type"] for event in found.events]
    assert [*found.events] == [*newest.events, *next_page.events]
    assert () == of_number.events
    assert [issued.id] == [event["challenge"] for event in of_account.events]


def test_an_operator_unlocks_a_number_and_an_account(client, number):
    assert client.unlock_number(number) is None
    assert client.unlock_account("u-81", tenant="dev") is None


def test_health_is_readable(client):
    assert "ok" == client.check_liveness().status
    assert ("development", "ok") == (client.check_readiness().mode, client.check_readiness().status)
