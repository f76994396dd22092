"""The answers of the service have the members and the texts of the examples in openapi.yaml."""

from typing import Any

import httpx

from tests.api.test_openapi import DOCUMENT, OPERATIONS, resolve
from tests.contract.support import Challenge, Dev
from tests.contract.test_authenticators import App
from tests.contract.test_recovery_codes import WRONG, RecoverySet


def read_example(name: str, answer: httpx.Response) -> Any:
    """Return the example that the document shows for an answer of this call."""
    response = resolve(OPERATIONS[name]["responses"][str(answer.status_code)])
    (content,) = response["content"].values()
    if answer.is_success:
        return content["example"]
    slug = answer.json()["type"].rpartition("/")[2]
    return resolve(content["examples"][slug])["value"]


def assert_documented(name: str, answer: httpx.Response, slug: str = "") -> None:
    """The example has the same members; of a problem the text and the limit too."""
    shown, given = read_example(name, answer), answer.json()
    assert shown.keys() == given.keys()
    assert slug in given.get("type", "")
    if not answer.is_success:
        texts = ("type", "title", "status", "detail", "limit")
        assert [shown.get(text) for text in texts] == [given.get(text) for text in texts]


def test_answers_about_a_challenge_are_documented(dev: Dev) -> None:
    """The view without and with `verified_at`; a wrong code tells the attempts that are left."""
    challenge: Challenge = dev.challenge()

    assert_documented("getChallenge", dev.api.get(f"/v1/challenges/{challenge.id}"))
    assert_documented("verifyChallenge", challenge.verify("1"), "malformed-code")
    assert_documented("verifyChallenge", challenge.verify(challenge.wrong), "incorrect-code")
    assert_documented("verifyChallenge", challenge.verify())


def test_answers_about_an_authenticator_are_documented(dev: Dev) -> None:
    """A wrong code tells no number of attempts: an account has limits instead."""
    app = App(dev)
    enrolled = dev.api.post("/v1/authenticators", json={"account": app.account})

    assert_documented("createAuthenticator", enrolled)
    assert_documented("verifyAuthenticator", app.verify(), "authenticator-not-confirmed")
    assert_documented("confirmAuthenticator", app.confirm("1"), "malformed-code")
    assert_documented("confirmAuthenticator", app.confirm(app.wrong_code()), "incorrect-code")
    assert_documented("confirmAuthenticator", app.confirm())
    assert_documented("confirmAuthenticator", app.confirm(account="other"), "invalid-auth")
    assert_documented("verifyAuthenticator", app.verify("1"), "malformed-code")
    assert_documented("verifyAuthenticator", app.verify())
    assert_documented("verifyAuthenticator", app.verify(), "code-already-used")
    for _ in range(3):
        assert_documented("verifyAuthenticator", app.verify(app.wrong_code()), "incorrect-code")
    assert_documented("verifyAuthenticator", app.verify(app.code(1)), "rate-limited")


def test_answers_about_recovery_codes_are_documented(dev: Dev) -> None:
    codes = RecoverySet(dev)
    body = {"account": codes.account}

    assert_documented("verifyRecoveryCode", codes.verify("1"), "malformed-code")
    assert_documented("verifyRecoveryCode", codes.verify(codes.codes[0]))
    assert_documented("verifyRecoveryCode", codes.verify(codes.codes[0]), "code-already-used")
    for _ in range(4):
        assert_documented("verifyRecoveryCode", codes.verify(WRONG), "incorrect-code")
    assert_documented("verifyRecoveryCode", codes.verify(WRONG), "rate-limited")
    for _ in range(4):
        assert_documented("createRecoveryCodes", dev.api.post("/v1/recovery-codes", json=body))
    refused = dev.api.post("/v1/recovery-codes", json=body)
    assert_documented("createRecoveryCodes", refused, "rate-limited")


def test_an_event_has_the_members_of_the_example(dev: Dev) -> None:
    """The example is of `otp.verified`, for a challenge of an account."""
    challenge = dev.challenge(account="u-81")
    challenge.verify(client_ip="203.0.113.9")
    query = {"type": "otp.verified", "challenge": challenge.id}
    answer = dev.api.get("/v1/audit/events", params=query)

    (event,) = answer.json()["events"]
    (shown,) = read_example("listEvents", answer)["events"]
    assert_documented("listEvents", answer)
    assert shown.keys() == event.keys()


def test_an_unknown_member_is_refused_as_documented(dev: Dev) -> None:
    """Of every call with a body: the example is an error that each of them can answer."""
    for path, methods in DOCUMENT["paths"].items():
        operation = methods.get("post", {})
        if "requestBody" in operation:
            url = path.replace("{challenge_id}", f"c00-{'0' * 32}")
            answer = dev.api.post(url, json={"phone": "+447400123456"})
            name = operation["operationId"]
            assert_documented(name, answer, "invalid-request")
