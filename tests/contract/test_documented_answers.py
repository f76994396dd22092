"""The answers of the service have the members and the texts of the examples in openapi.yaml."""

from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.contract.support import Challenge, Dev
from tests.contract.test_authenticators import App
from tests.contract.test_recovery_codes import WRONG, RecoverySet


DOCUMENT = yaml.safe_load((Path(__file__).parents[2] / "openapi.yaml").read_text("utf-8"))
OPERATIONS = {
    operation["operationId"]: operation
    for methods in DOCUMENT["paths"].values()
    for operation in methods.values()
}


def read_example(name: str, answer: httpx.Response) -> Any:
    """Return the example that the document shows for an answer of this call."""
    response = OPERATIONS[name]["responses"][str(answer.status_code)]
    if "$ref" not in response:
        return response["content"]["application/json"]["example"]
    described = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
    slug = answer.json()["type"].rpartition("/")[2]
    example = described["content"]["application/problem+json"]["examples"][slug]["$ref"]
    return DOCUMENT["components"]["examples"][example.rpartition("/")[2]]["value"]


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

    assert_documented("get_challenge", dev.api.get(f"/v1/challenges/{challenge.id}"))
    assert_documented("verify_challenge", challenge.verify("1"), "malformed-code")
    assert_documented("verify_challenge", challenge.verify(challenge.wrong), "incorrect-code")
    assert_documented("verify_challenge", challenge.verify())


def test_answers_about_an_authenticator_are_documented(dev: Dev) -> None:
    """A wrong code tells no number of attempts: an account has limits instead."""
    app = App(dev)
    enrolled = dev.api.post("/v1/authenticators", json={"account": app.account})

    assert_documented("create_authenticator", enrolled)
    assert_documented("verify_authenticator", app.verify(), "authenticator-not-confirmed")
    assert_documented("confirm_authenticator", app.confirm("1"), "malformed-code")
    assert_documented("confirm_authenticator", app.confirm(app.wrong_code()), "incorrect-code")
    assert_documented("confirm_authenticator", app.confirm())
    assert_documented("confirm_authenticator", app.confirm(account="other"), "invalid-auth")
    assert_documented("verify_authenticator", app.verify("1"), "malformed-code")
    assert_documented("verify_authenticator", app.verify())
    assert_documented("verify_authenticator", app.verify(), "code-already-used")
    for _ in range(3):
        assert_documented("verify_authenticator", app.verify(app.wrong_code()), "incorrect-code")
    assert_documented("verify_authenticator", app.verify(app.code(1)), "rate-limited")


def test_answers_about_recovery_codes_are_documented(dev: Dev) -> None:
    codes = RecoverySet(dev)
    body = {"account": codes.account}

    assert_documented("verify_recovery_code", codes.verify("1"), "malformed-code")
    assert_documented("verify_recovery_code", codes.verify(codes.codes[0]))
    assert_documented("verify_recovery_code", codes.verify(codes.codes[0]), "code-already-used")
    for _ in range(4):
        assert_documented("verify_recovery_code", codes.verify(WRONG), "incorrect-code")
    assert_documented("verify_recovery_code", codes.verify(WRONG), "rate-limited")
    for _ in range(4):
        assert_documented("create_recovery_codes", dev.api.post("/v1/recovery-codes", json=body))
    refused = dev.api.post("/v1/recovery-codes", json=body)
    assert_documented("create_recovery_codes", refused, "rate-limited")


def test_an_event_has_the_members_of_the_example(dev: Dev) -> None:
    """The example is of `otp.verified`, for a challenge of an account."""
    challenge = dev.challenge(account="u-81")
    challenge.verify(client_ip="203.0.113.9")
    query = {"type": "otp.verified", "challenge": challenge.id}
    answer = dev.api.get("/v1/audit/events", params=query)

    (event,) = answer.json()["events"]
    (shown,) = read_example("list_events", answer)["events"]
    assert_documented("list_events", answer)
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
