"""A7, A25: ways around the limits and around the code itself."""

import re

import pytest

from tests.processes import GatewayServer, RunningService


pytestmark = pytest.mark.slow

MAGIC = [
    *("000000", "111111", "123456", "654321", "999999"),
    *("123123", "112233", "121212", "696969", "424242"),
    *("222222", "333333", "444444", "555555", "666666"),
    *("777777", "888888", "012345", "101010", "314159"),
]
"""What services have been caught to accept from anybody: test codes, defaults, other masters."""

SPOOFED = [
    *("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "X-Originating-IP", "X-Remote-IP"),
    *("X-Remote-Addr", "X-Cluster-Client-IP", "True-Client-IP", "CF-Connecting-IP"),
    *("Fastly-Client-IP", "X-Azure-ClientIP", "Client-IP", "Via"),
]


def spoofed(i: int) -> dict[str, str]:
    """Return headers that claim another client each time."""
    address = f"198.51.{i // 250}.{i % 250 + 1}"
    claims = dict.fromkeys(SPOOFED, address)
    return claims | {"Forwarded": f"for={address};host=otp{i}.example;proto=https"}


def test_who_changes_his_headers_is_still_the_same_client(
    service: RunningService, generate_number
) -> None:
    """R56, A7: the client's address is what the back end says, whatever a header claims."""
    answers = [
        service.send_request(
            "POST",
            "/v1/challenges",
            body={"phone_number": generate_number(), "client_ip": "203.0.113.77"},
            headers=spoofed(i),
        )
        for i in range(32)
    ]

    assert [201] * 30 + [429] * 2 == [answer.status for answer in answers]
    assert "SendsPerClientAddress" == answers[-1].json["limit"]


def test_who_moves_within_his_network_is_still_the_same_client(
    service: RunningService, generate_number
) -> None:
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
            headers=spoofed(i) | {"X-Forwarded-Host": "internal", "X-HTTP-Method-Override": "PUT"},
        )
        for i in range(25)
    ]

    assert {("rate-limited", "CooldownPerNumber")} == {
        (a.problem_type, a.json["limit"]) for a in answers
    }
    assert 1 == len(gateway.list_texts_to(number))


@pytest.mark.parametrize("first", range(0, len(MAGIC), 5))
def test_no_code_verifies_by_magic(
    service: RunningService, gateway: GatewayServer, number: str, first: int
) -> None:
    """R38, A25: only the code that was sent does."""
    issued = service.issue(number)
    drawn = gateway.find_code(number)
    tried = [code for code in MAGIC[first : first + 5] if code != drawn]

    answers = [service.verify(issued, code) for code in tried]

    assert ["incorrect-code"] * len(tried) == [answer.problem_type for answer in answers]


@pytest.mark.parametrize(
    "body",
    [
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
    ],
)
def test_what_is_no_code_is_never_compared(service: RunningService, number: str, body) -> None:
    """R8, A25: neither nothing nor a pattern is right."""
    issued = service.issue(number)
    before = service.count_samples("otp_argon2_seconds_count")

    answer = service.send_request("POST", f"/v1/challenges/{issued.json['id']}/verify", body=body)

    assert answer.problem_type in {"malformed-code", "invalid-request"}
    assert before == service.count_samples("otp_argon2_seconds_count")
    assert 5 == service.view(issued).json["attempts_left"]


def test_the_code_is_in_no_answer(
    service: RunningService, gateway: GatewayServer, number: str
) -> None:
    """R32, A25: neither in that of its issue nor in any later one; MTN's was."""
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
    everything = [a.body.decode() + repr(a.headers) for a in answers]
    assert [] == [a for a in everything if re.search(rf"(?<![0-9a-f.]){code}(?![0-9a-f])", a)]


@pytest.mark.parametrize(
    "path",
    [
        *("/metrics", "/docs", "/openapi.yaml", "/inbox", "/inbox.json", "/schema", "/debug"),
        *("/schema/openapi.json", "/schema/swagger", "/.env", "/admin", "/", "/v1", "/health"),
    ],
)
def test_nothing_else_is_on_the_public_listener(service: RunningService, path: str) -> None:
    """R60: metrics and documents have a listener of their own, and the inbox is in no production."""
    answer = service.send_request("GET", path, by="")

    assert (404, "not-found") == (answer.status, answer.problem_type)


@pytest.mark.parametrize("path", ["/inbox", "/inbox.json", "/v1/challenges"])
def test_production_has_no_inbox_and_no_api_on_the_admin_listener(
    service: RunningService, path: str
) -> None:
    """R38, R60: what development shows is not even there."""
    assert 404 == service.send_request("GET", path, by="", listener="admin_port").status
