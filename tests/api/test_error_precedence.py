"""Errors of a request are checked in the contract's order."""

import json

import pytest

from otp_service.core.errors import ChallengeNotFound
from tests.api.fakes import CHALLENGE_ID, ApiHarness, build_auth_header, build_scope, run_asgi_call


GOOD = {"phone_number": "+447400123456"}
TYPED = {"Content-Type": "application/json"}
UNKNOWN_ID = f"/v1/challenges/c63-{'0' * 32}/verify"
NO_ID = "/v1/challenges/nothing/verify"

# Each row has all errors of the rows below it, and one more.
ROWS = [
    (401, "unauthenticated", "", NO_ID, b"x" * 20_000, {}),
    (403, "forbidden", "operator", NO_ID, b"x" * 20_000, {}),
    (413, "content-too-large", "shop", NO_ID, b"x" * 20_000, {}),
    (415, "unsupported-media-type", "shop", NO_ID, b"x", {}),
    (400, "invalid-request", "shop", NO_ID, b"x", TYPED),
    (404, "challenge-not-found", "shop", NO_ID, b'{"code": 1}', TYPED),
]


@pytest.mark.parametrize(("status", "slug", "key", "path", "body", "headers"), ROWS)
async def test_of_several_faults_the_first_is_told(  # noqa: PLR0913, PLR0917
    api: ApiHarness, status, slug, key, path, body, headers
) -> None:
    """R24, R55: the key before the body, the body before the id."""
    response = await api.call_public("POST", path, key=key, content=body, headers=headers)

    assert status == response.status_code
    assert f"/problems/{slug}" == response.json()["type"]
    assert [] == api.service.calls


async def test_a_caller_without_a_key_is_refused_before_his_body_is_read(api: ApiHarness) -> None:
    """R55: a caller that sends only headers gets its 401, and no body is received."""
    scope = build_scope("POST", "/v1/challenges", (b"content-length", b"100"))

    status, _, body = await run_asgi_call(api.public, scope)

    assert 401 == status
    assert "unauthenticated" in body.decode()


async def test_the_body_is_read_to_its_end_before_the_challenge_is_looked_at(
    api: ApiHarness,
) -> None:
    """R24: a body that arrives in pieces does not widen the time between a check and a claim."""
    name, value = next(iter(build_auth_header("shop").items()))
    scope = build_scope(
        "POST",
        f"/v1/challenges/{CHALLENGE_ID}/verify",
        (name.lower().encode(), value.encode()),
        (b"content-type", b"application/json"),
    )
    seen = []
    pieces = [b'{"code"', b': "123456"}']

    async def receive():
        seen.append(len(api.service.calls))
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message):
        pass

    await api.public(scope, receive, send)

    assert [0, 0] == seen
    assert 1 == len(api.service.calls)


async def test_an_id_that_is_none_never_reaches_the_service(api: ApiHarness) -> None:
    """R6: an invalid id cannot become part of a Redis key."""
    for challenge_id in (
        "x",
        "c07",
        f"{CHALLENGE_ID}0",
        CHALLENGE_ID.upper(),
        "c99-" + CHALLENGE_ID[4:],
        f"{CHALLENGE_ID}%0A",
        "%00",
    ):
        response = await api.call_public("GET", f"/v1/challenges/{challenge_id}")

        assert 404 == response.status_code, challenge_id
        assert "/problems/challenge-not-found" == response.json()["type"]
    assert [] == api.service.calls


@pytest.mark.parametrize("code", [123456, 1.5, None, True, ["123456"], {"a": "123456"}])
async def test_a_code_of_another_type_is_as_malformed_as_any(api: ApiHarness, code) -> None:
    """R8: it is handled as a malformed string, and refused after 404 and 410."""
    api.service.error = ChallengeNotFound()

    response = await api.call_public("POST", UNKNOWN_ID, json={"code": code})

    assert 404 == response.status_code
    assert "" == api.service.calls[0][3].code


@pytest.mark.parametrize(
    "code",
    [
        "",
        "12345",
        "\uff11\uff12\uff13\uff14\uff15\uff16",
        "\u0661\u0662",
        "12345\u00b2",
        "123456\n",
        "123456\0",
        "9" * 9999,
    ],
)
async def test_any_string_as_a_code_is_left_to_the_challenge(api: ApiHarness, code) -> None:
    """R8: every malformed code gets the same answer, at the same point of the order."""
    response = await api.call_public("POST", UNKNOWN_ID, json={"code": code})

    assert 200 == response.status_code
    assert code == api.service.calls[0][3].code


async def test_a_missing_code_is_an_invalid_request(api: ApiHarness) -> None:
    """The contract requires `code`."""
    response = await api.call_public("POST", UNKNOWN_ID, json={})

    assert 400 == response.status_code
    assert [{"path": "code", "message": "is missing"}] == response.json()["errors"]


async def test_a_code_of_a_hundred_kilobytes_is_too_large(api: ApiHarness) -> None:
    """R8: no 5xx, and nothing is compared."""
    response = await api.call_public(
        "POST", UNKNOWN_ID, content=json.dumps({"code": "1" * 100_000})
    )

    assert 413 == response.status_code
    assert [] == api.service.calls


@pytest.mark.parametrize("address", ["", "203.0.113.9:80", "fe80::1%eth0", "localhost", "1.2.3"])
async def test_a_bad_address_is_told_before_the_challenge_is_looked_for(
    api: ApiHarness, address
) -> None:
    """400 is checked before 404."""
    response = await api.call_public(
        "POST", UNKNOWN_ID, json={"code": "123456", "client_ip": address}
    )

    assert 400 == response.status_code
    assert ["client_ip"] == [error["path"] for error in response.json()["errors"]]
    assert [] == api.service.calls
