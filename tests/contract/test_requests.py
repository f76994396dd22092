"""Authentication, bodies, media types and trace headers."""

import contextlib
import json
from typing import Any

import httpx
import pytest

from tests.contract.support import (
    KEY,
    KIB,
    Challenge,
    Dev,
    assert_invalid,
    assert_problem,
    assert_rate_limited,
    client,
    fresh_number,
)


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {KEY}x"],
)
def test_callers_need_a_key(dev: Dev, authorization: str | None) -> None:
    """Each endpoint with a scope answers 401 first, whatever the body."""
    headers = {} if authorization is None else {"Authorization": authorization}
    number = fresh_number()

    with client(str(dev.api.base_url), **headers) as stranger:
        refused = [
            stranger.post("/v1/challenges", json={"phone_number": number}),
            stranger.post("/v1/challenges", content=b"x" * 64 * KIB),
            stranger.post("/v1/challenges/unknown/verify", json={}),
            stranger.post("/v1/challenges/unknown/resend"),
            stranger.get("/v1/challenges/unknown"),
            stranger.delete("/v1/challenges/unknown"),
            stranger.get("/v1/audit/events"),
            stranger.post("/v1/audit/search", json={}),
            stranger.post("/v1/numbers/unlock", json={"phone_number": number}),
        ]

    for answer in refused:
        assert_problem(answer, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert [] == dev.inbox(number)


def test_a_scheme_has_no_case(dev: Dev) -> None:
    """`bearer` is `Bearer`."""
    assert 201 == dev.issue(headers={"Authorization": f"bearer {KEY}"}).status_code


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "json", ""]
)
@pytest.mark.parametrize(
    "path", ["/v1/challenges", "/v1/challenges/unknown/verify", "/v1/numbers/unlock"]
)
def test_a_body_is_json(dev: Dev, path: str, media: str) -> None:
    """Its type has to be JSON; otherwise it is 415 before the body is parsed."""
    headers = {"Content-Type": media}

    for body in (b'{"phone_number": "+447400100001"}', b"not json"):
        refused = dev.api.post(path, content=body, headers=headers)
        assert_problem(refused, "unsupported-media-type")


def test_a_body_without_a_type_is_refused(dev: Dev) -> None:
    """No type is guessed."""
    refused = dev.api.post("/v1/challenges", content=b'{"phone_number": "+447400100001"}')

    assert_problem(refused, "unsupported-media-type")


def test_a_resend_needs_no_body(challenge: Challenge) -> None:
    """An empty object is accepted, unknown fields are not."""
    url = f"/v1/challenges/{challenge.id}/resend"

    assert_rate_limited(challenge.dev.api.post(url))
    assert_rate_limited(challenge.dev.api.post(url, json={}))
    assert_invalid(challenge.dev.api.post(url, json={"code": "123456"}))
    assert_problem(challenge.dev.api.post(url, content=b"x"), "unsupported-media-type")


@pytest.mark.parametrize("media", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_may_name_its_charset(dev: Dev, media: str) -> None:
    """Media types have no case."""
    assert 201 == dev.issue(headers={"Content-Type": media}).status_code


def body_of(size: int, *, number: str) -> bytes:
    """Return an issue's body of that many bytes."""
    return json.dumps({"phone_number": number}).encode().ljust(size)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_has_up_to_16_kib(dev: Dev, *, chunked: bool) -> None:
    """One byte more is 413, with or without a length beforehand."""
    headers = {"Content-Type": "application/json"}

    def post(size: int) -> httpx.Response:
        body = body_of(size, number=fresh_number())
        content: Any = iter([body[: size // 2], body[size // 2 :]]) if chunked else body
        return dev.api.post("/v1/challenges", content=content, headers=headers)

    assert 201 == post(16 * KIB).status_code
    assert_problem(post(16 * KIB + 1), "content-too-large")
    assert_problem(post(100 * KIB), "content-too-large")


def test_a_large_body_comes_before_its_type_and_contents(dev: Dev) -> None:
    """413, then 415, then 400."""
    large = b"x" * (16 * KIB + 1)

    for path in ("/v1/challenges", "/v1/challenges/unknown/verify", "/v1/audit/search"):
        refused = dev.api.post(path, content=large, headers={"Content-Type": "text/plain"})
        assert_problem(refused, "content-too-large")


def test_two_megabytes_are_answered(dev: Dev) -> None:
    """This holds although the caller continues to send."""
    with contextlib.suppress(httpx.WriteError, httpx.RemoteProtocolError):
        refused = dev.api.post("/v1/challenges", content=b"x" * 2 * KIB * KIB)
        assert_problem(refused, "content-too-large")
    assert 201 == dev.issue().status_code


def test_duplicate_keys_are_refused_everywhere(challenge: Challenge) -> None:
    """The last value is not used, and nothing is charged."""
    headers = {"Content-Type": "application/json"}
    code = challenge.code
    body = f'{{"code": "{challenge.wrong}", "code": "{code}"}}'
    url = f"/v1/challenges/{challenge.id}/verify"

    assert_invalid(challenge.dev.api.post(url, content=body, headers=headers))

    assert 5 == challenge.view()["attempts_left"]


def test_query_parameters_are_no_body(dev: Dev) -> None:
    """A number in a URL is not read."""
    headers = {"Content-Type": "application/json"}
    url = "/v1/challenges?phone_number=%2B447400100001"

    assert_invalid(dev.api.post(url, content=b"{}", headers=headers))


@pytest.mark.parametrize(
    "traceparent",
    [
        "garbage",
        "00-" + "0" * 32 + "-" + "0" * 16 + "-01",
        "00-" + "G" * 32 + "-" + "b" * 16 + "-01",
        "00-" + "A" * 32 + "-" + "B" * 16 + "-01",
        "ff-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "0" * 300,
        "\u00fc",
        "",
    ],
)
def test_garbage_in_traces_is_ignored(dev: Dev, traceparent: str) -> None:
    """An invalid trace header never refuses a request."""
    headers = {"traceparent": traceparent.encode(), "tracestate": b"=,=" * 100}

    assert 201 == dev.issue(headers=headers).status_code


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", ""],
)
def test_both_listeners_answer_loopback_names_only(dev: Dev, host: str) -> None:
    """A page of another site cannot reach them by a DNS name of its own."""
    for listener, path in ((dev.api, "/health/live"), (dev.admin, "/inbox.json")):
        refused = listener.get(path, headers={"Host": host})
        assert 400 <= refused.status_code < 500


def test_loopback_has_many_names(dev: Dev) -> None:
    """Each is accepted with and without a port."""
    for listener, path in ((dev.api, "/health/live"), (dev.admin, "/inbox.json")):
        for host in (
            "localhost",
            "127.0.0.1",
            "[::1]",
            "LOCALHOST",
            f"localhost:{dev.api.base_url.port}",
        ):
            assert 200 == listener.get(path, headers={"Host": host}).status_code
