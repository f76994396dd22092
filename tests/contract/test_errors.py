"""Problems of requests that match no route or are invalid HTTP."""

import json
import re
import socket

import pytest

from tests.contract.support import (
    Dev,
    assert_problem,
)


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v2/challenges", "/v1/challenge", "/v1/challenges/a/b", "/favicon.ico"]
)
def test_other_paths_are_not_found(dev: Dev, path: str) -> None:
    """404 `not-found`."""
    assert_problem(dev.api.get(path), "not-found")
    assert_problem(dev.api.post(path, json={}), "not-found")


@pytest.mark.parametrize("path", ["/v1/callbacks/nobody", "/v1/callbacks/inbox"])
def test_nobody_calls_back_in_development(dev: Dev, path: str) -> None:
    """The inbox has no receipts, and there is no other provider."""
    assert_problem(dev.api.get(path), "not-found")
    assert_problem(dev.api.post(path, content=b"x"), "not-found")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/challenges", "POST"),
        ("/v1/challenges/unknown", "GET DELETE"),
        ("/v1/challenges/unknown/verify", "POST"),
        ("/v1/challenges/unknown/resend", "POST"),
        ("/v1/audit/events", "GET"),
        ("/v1/audit/search", "POST"),
        ("/v1/numbers/unlock", "POST"),
        ("/v1/accounts/unlock", "POST"),
        ("/health/live", "GET"),
        ("/health/ready", "GET"),
    ],
)
def test_other_methods_are_not_allowed(dev: Dev, path: str, allowed: str) -> None:
    """405 says which are."""
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - set(allowed.split()):
        refused = dev.api.request(method, path)
        assert_problem(refused, "method-not-allowed")
        assert set(allowed.split()) <= set(re.split(r",\s*", refused.headers["allow"]))


def test_what_is_no_request_is_a_problem_too(dev: Dev) -> None:
    """R51: this includes requests that the HTTP parser refuses before routing."""
    url = dev.api.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=5) as connection:
        connection.sendall(b"BREW /v1/challenges HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = connection.makefile("rb").read()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert "/problems/invalid-request" == json.loads(body)["type"]
