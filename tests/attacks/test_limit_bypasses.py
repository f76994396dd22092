"""A7, A25: bypasses of the limits and of the code itself."""

import re
from typing import Any

import pytest

from tests.processes import GatewayServer, RunningService


pytestmark = pytest.mark.slow

MAGIC_CODES = [
    *("000000", "111111", "123456", "654321", "999999"),
    *("123123", "112233", "121212", "696969", "424242"),
    *("222222", "333333", "444444", "555555", "666666"),
    *("777777", "888888", "012345", "101010", "314159"),
]
"""Codes that real services accepted from every user: test codes, defaults and master codes."""

CLIENT_ADDRESS_HEADERS = [
    *("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "X-Originating-IP", "X-Remote-IP"),
    *("X-Remote-Addr", "X-Cluster-Client-IP", "True-Client-IP", "CF-Connecting-IP"),
    *("Fastly-Client-IP", "X-Azure-ClientIP", "Client-IP", "Via"),
]


def build_spoofed_headers(i: int) -> dict[str, str]:
    """Return headers that claim another client address for each `i`."""
    address = f"198.51.{i // 250}.{i % 250 + 1}"
    claims = dict.fromkeys(CLIENT_ADDRESS_HEADERS, address)
    return claims | {"Forwarded": f"for={address};host=otp{i}.example;proto=https"}


def test_spoofed_headers_do_not_change_the_client_ip(
    service: RunningService, generate_number
) -> None:
    """R56, A7: the client address is `client_ip` of the request body, whatever a header claims."""
    answers = [
        service.send_request(
            "POST",
            "/v1/challenges",
            body={"phone_number": generate_number(), "client_ip": "203.0.113.77"},
            headers=build_spoofed_headers(i),
        )
        for i in range(32)
    ]

    assert [201] * 30 + [429] * 2 == [answer.status for answer in answers]
    assert "SendsPerClientAddress" == answers[-1].json["limit"]


def test_addresses_of_one_network_share_a_limit(service: RunningService, generate_number) -> None:
    """R56: an IPv6 customer has a /64, and an IPv4-mapped address is IPv4."""
    network = [f"2001:db8:77::{i:x}:1" for i in range(31)]
    mapped = ["203.0.113.78", *["::ffff:203.0.113.78"] * 30]

    for addresses in (network, mapped):
        answers = [service.issue(generate_number(), client_ip=address) for address in addresses]

        assert [201] * 30 + [429] == [answer.status for answer in answers]


def test_no_header_loosens_a_numbers_limits(
    service: RunningService, gateway: GatewayServer, number: str
) -> None:
    """R25, A7: the cooldown belongs to the number."""
    service.issue(number)

    answers = [
        service.send_request(
            "POST",
            "/v1/challenges",
            body={"phone_number": number},
            headers=build_spoofed_headers(i)
            | {"X-Forwarded-Host": "internal", "X-HTTP-Method-Override": "PUT"},
        )
        for i in range(25)
    ]

    assert {("rate-limited", "CooldownPerNumber")} == {
        (a.problem_type, a.json["limit"]) for a in answers
    }
    assert 1 == len(gateway.list_texts_to(number))


@pytest.mark.parametrize("first", range(0, len(MAGIC_CODES), 5))
def test_no_well_known_code_verifies(
    service: RunningService, gateway: GatewayServer, number: str, first: int
) -> None:
    """R38, A25: only the sent code verifies."""
    issued = service.issue(number)
    sent = gateway.find_code(number)
    tried = [code for code in MAGIC_CODES[first : first + 5] if code != sent]

    answers = [service.verify(issued, code) for code in tried]

    assert ["incorrect-code"] * len(tried) == [answer.problem_type for answer in answers]


MALFORMED_BODIES: tuple[dict[str, Any], ...] = (
    {},
    {"code": None},
    {"code": True},
    {"code": ""},
    {"code": "%"},
    {"code": "*" * 6},
    {"code": ["000000"]},
    {"code": {"$ne": ""}},
    {"code": 0},
    {"code": "null"},
    {"status": "verified"},
    {"code": "......", "verified": True},
)


def test_a_malformed_code_is_never_compared(service: RunningService, number: str) -> None:
    """R8, A25: neither an empty value nor a pattern is a code."""
    issued = service.issue(number)
    path = f"/v1/challenges/{issued.json['id']}/verify"
    before = service.count_samples("otp_argon2_seconds_count")

    answers = [service.send_request("POST", path, body=body) for body in MALFORMED_BODIES]

    refusals = {"malformed-code", "invalid-request"}
    accepted = [
        body
        for body, answer in zip(MALFORMED_BODIES, answers, strict=True)
        if answer.problem_type not in refusals
    ]
    assert [] == accepted
    assert before == service.count_samples("otp_argon2_seconds_count")
    assert 5 == service.view(issued).json["attempts_left"]


def test_no_response_contains_the_code(
    service: RunningService, gateway: GatewayServer, number: str
) -> None:
    """R32, A25: neither the response to the issue nor a later one contains it. MTN's did."""
    issued = service.issue(number, key="k", account="u-81", client_ip="203.0.113.79")
    code = gateway.find_code(number)

    answers = [
        issued,
        service.issue(number, key="k", account="u-81", client_ip="203.0.113.79"),
        service.issue(number),
        service.view(issued),
        service.verify(issued, f"{code[::-1]}0"),
        service.verify(issued, code, key="v"),
        service.verify(issued, code, key="v"),
        service.verify(issued, code),
        service.resend(issued),
    ]

    assert [201, 201, 429, 200, 400, 200, 200, 410, 410] == [a.status for a in answers]
    texts = [a.body.decode() + repr(a.headers) for a in answers]
    assert [] == [a for a in texts if re.search(rf"(?<![0-9a-f.]){code}(?![0-9a-f])", a)]


@pytest.mark.parametrize(
    "path",
    [
        *("/metrics", "/docs", "/openapi.yaml", "/inbox", "/inbox.json", "/schema", "/debug"),
        *("/schema/openapi.json", "/schema/swagger", "/.env", "/admin", "/", "/v1", "/health"),
    ],
)
def test_the_public_listener_serves_only_the_api(service: RunningService, path: str) -> None:
    """R60: metrics and documents have their own listener, and production has no inbox."""
    answer = service.send_request("GET", path, by="")

    assert (404, "not-found") == (answer.status, answer.problem_type)


@pytest.mark.parametrize("path", ["/inbox", "/inbox.json", "/v1/challenges"])
def test_production_has_no_inbox_and_no_api_on_the_admin_listener(
    service: RunningService, path: str
) -> None:
    """R38, R60: production does not contain the development endpoints."""
    assert 404 == service.send_request("GET", path, by="", listener="admin_port").status
