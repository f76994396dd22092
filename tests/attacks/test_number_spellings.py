"""A6, A13: each phone has one canonical name and one budget; each Idempotency-Key, one message."""

import re
from collections import Counter

import pytest

from otp_service.store.embedded import EmbeddedServer
from tests.processes import GatewayServer, RunningService, build_request
from tests.store import redis_servers


pytestmark = pytest.mark.slow

NUMBER = "+12024560123"

# Requirements, 5.1: libphonenumber parses each of these as NUMBER, some with a region.
SPELLINGS = [
    "+1 (202) 456-0123",
    "+1-202-456-0123",
    "+1 202 456 0123 ext. 5",
    "+12024560123;ext=99",
    "+12024560123,,77",
    "+12024560123,1",
    "+12024560123x12345",
    "+12024560123~7",
    "+12024560123 int 7",
    "+12024560123;5",
    "tel:+1-202-456-0123",
    "tel:202-456-0123;phone-context=+1",
    "tel:+12024560123;isub=12",
    "++12024560123",
    "+１２０２４５６０１２３",
    "＋12024560123",
    "+١٢٠٢٤٥٦٠١٢٣",
    "+१२०२४५६०१२३",
    "+1202456０１２３",
    "+1202\u200b456\u200b0123",
    "+1202\u00ad4560123",
    "\u200e+12024560123",
    "\u202a+12024560123\u202c",
    "+1 202 GJM 0123",
    "+12024560123\x00",
    "+1 1 202 456 0123",
    "+112024560123",
    "1 202 456 0123",
    "12024560123",
    "(202) 456-0123",
    "2024560123",
    "011 1 202 456 0123",
    " +12024560123",
    "+12024560123 ",
    "+12024560123\n",
    "+1202\n4560123",
    "+12024560123\r\n",
    "0012024560123",
    "+1" + "2" * 250,
    "",
    "+",
]


async def test_concurrent_spellings_of_one_number_send_one_message(
    service: RunningService, gateway: GatewayServer
) -> None:
    """R25, R34, R35: a limit for each spelling would not limit the number."""
    requests = [
        build_issue_request(service, {"phone_number": spelling})
        for spelling in [*SPELLINGS, NUMBER]
    ]

    answers = await service.send_together(requests)

    *others, plain = answers
    assert 201 == plain.status
    assert {"invalid-phone-number"} == {answer.problem_type for answer in others}
    assert [NUMBER] == [m["to"] for m in gateway.messages if m["to"].startswith("+12")]


def test_a_refused_spelling_leaves_nothing_in_redis(
    service: RunningService, redis: EmbeddedServer, gateway: GatewayServer
) -> None:
    """R35: Redis is never called: no key, no bucket, no Idempotency-Key and no event is written."""
    before, messages = list_redis_keys(redis), len(gateway.messages)
    calls = service.count_samples("otp_store_seconds_count")

    refusals = [service.issue(spelling, key=f"k{i}") for i, spelling in enumerate(SPELLINGS)]

    assert {("invalid-phone-number", 422)} == {(r.problem_type, r.status) for r in refusals}
    assert calls == service.count_samples("otp_store_seconds_count")
    assert set() == list_redis_keys(redis) - before
    assert messages == len(gateway.messages)


@pytest.mark.parametrize("value", [12024560123, None, True, ["+12024560123"], {"e164": NUMBER}])
def test_a_number_that_is_not_a_string_is_refused(
    service: RunningService, gateway: GatewayServer, value
) -> None:
    """R35, R58: the response is 400, and the value is not converted."""
    messages = len(gateway.messages)

    assert "invalid-request" == service.issue(value).problem_type
    assert messages == len(gateway.messages)


async def test_fifty_calls_with_one_idempotency_key_send_one_message(
    service: RunningService, gateway: GatewayServer, number: str
) -> None:
    """R53, A13: the key is claimed before anything is charged, whichever worker claims it."""
    requests = [build_issue_request(service, {"phone_number": number}, key="one-and-the-same")] * 50

    answers = await service.send_together(requests)

    outcomes = Counter(answer.problem_type or str(answer.status) for answer in answers)
    assert outcomes.keys() <= {"201", "idempotency-key-in-use"}
    assert 1 == len({answer.json["id"] for answer in answers if answer.status == 201})
    assert 1 == len(gateway.list_texts_to(number))
    again = service.issue(number, key="one-and-the-same")
    assert {again.json["id"]} == {a.json["id"] for a in answers if a.status == 201}


async def test_fifty_concurrent_issues_for_one_number_send_one_message(
    service: RunningService, gateway: GatewayServer, number: str
) -> None:
    """R25, R57, A15: over workers, tenants and purposes."""
    requests = [
        build_issue_request(
            service, {"phone_number": number, "purpose": f"p{i}"}, by=("shop", "bank")[i % 2]
        )
        for i in range(50)
    ]

    answers = await service.send_together(requests)

    assert Counter({429: 49, 201: 1}) == Counter(answer.status for answer in answers)
    assert 1 == len(gateway.list_texts_to(number))


def build_issue_request(
    service: RunningService, body: dict[str, str], *, by: str = "shop", key: str = ""
) -> bytes:
    """Return the bytes of an issue request."""
    headers = {"Idempotency-Key": key} if key else {}
    return build_request("POST", "/v1/challenges", body=body, key=service.keys[by], headers=headers)


def list_redis_keys(redis: EmbeddedServer) -> set[bytes]:
    """Return the keys in Redis, except the log that the workers sweep every minute."""
    swept = re.compile(rb":(operation:\w+|log|events|refusals|folds|due)$")
    with redis_servers.open_client(redis) as client:
        return {name for name in client.scan_iter("*") if not swept.search(name)}
