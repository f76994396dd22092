"""R26, R88, A15: providers that accept a message and then never respond."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import msgspec
import pytest

from otp_service.core.limits import DEFAULT_LIMITS, Limit
from otp_service.store.embedded import EmbeddedServer
from tests.processes import (
    HIGH_CAPACITY_SETTINGS,
    GatewayServer,
    HttpResponse,
    RawConnection,
    RunningService,
    build_request,
    delete_cooldowns,
    run_service,
)
from tests.store import redis_servers


pytestmark = pytest.mark.slow

NUMBER = "+447400123456"
DEADLINE_SECONDS = 1
PROVIDERS = ("GATEWAY", "GATEWAY2", "GATEWAY3")
MAX_SENDS_PER_NUMBER = min(window.count for window in DEFAULT_LIMITS[Limit.SENDS_NUMBER])


class HangingScenario(NamedTuple):
    """A service with hanging providers, and the responses to fifty issues."""

    service: RunningService
    redis: EmbeddedServer
    gateways: list[GatewayServer]
    answers: list[HttpResponse]
    seconds: list[float]

    @property
    def message_count(self) -> int:
        """The number of messages that the providers accepted."""
        return sum(len(gateway.messages) for gateway in self.gateways)


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HangingScenario]:
    """Run three providers: two end at their own timeouts, the third at the deadline."""
    folder = tmp_path_factory.mktemp("hanging")
    timeouts = {f"PROVIDERS__{name}__READ_TIMEOUT": "0.3" for name in PROVIDERS[:2]}
    settings = {
        "ROUTING__DEADLINE_SECONDS": str(DEADLINE_SECONDS),
        **timeouts,
        **HIGH_CAPACITY_SETTINGS,
    }
    with ExitStack() as stack:
        gateways = [stack.enter_context(GatewayServer()) for _ in PROVIDERS]
        urls = [gateway.url for gateway in gateways]
        redis = stack.enter_context(redis_servers.start_server(folder / "redis"))
        service = stack.enter_context(run_service(folder, redis, urls, workers=1, **settings))
        for gateway in gateways:
            gateway.hold_replies()
        answers, seconds = asyncio.run(issue_fifty_codes(service, redis))
        yield HangingScenario(service, redis, gateways, answers, seconds)


async def issue_fifty_codes(
    service: RunningService, redis: EmbeddedServer
) -> tuple[list[HttpResponse], list[float]]:
    """Request fifty codes for one number, five at a time, as both tenants."""
    answers, seconds = [], []
    for _ in range(10):
        timed = [issue_timed(service, by) for by in ("shop", "bank", "shop", "bank", "shop")]
        for answer, took in await asyncio.gather(*timed):
            answers.append(answer)
            seconds.append(took)
        delete_cooldowns(redis)
    return answers, seconds


async def issue_timed(service: RunningService, by: str) -> tuple[HttpResponse, float]:
    connection = await RawConnection.connect(service.port)
    request_bytes = build_request(
        "POST", "/v1/challenges", body={"phone_number": NUMBER}, key=service.keys[by]
    )
    began = time.perf_counter()
    answer = await connection.exchange(request_bytes)
    took = time.perf_counter() - began
    connection.close()
    return answer, took


def test_fifty_issues_send_no_more_messages_than_the_limit_of_the_number(
    hanging: HangingScenario,
) -> None:
    """R26: failover may add two messages to the last admitted send."""
    assert MAX_SENDS_PER_NUMBER <= hanging.message_count <= MAX_SENDS_PER_NUMBER + 2
    assert {NUMBER} == {m["to"] for gateway in hanging.gateways for m in gateway.messages}


def test_a_send_with_an_unknown_outcome_succeeds(hanging: HangingScenario) -> None:
    """R88: the message may arrive, so its code must verify; all other requests are rate limited."""
    statuses = Counter(answer.status for answer in hanging.answers)
    issued = [answer for answer in hanging.answers if answer.status == 201]

    assert {201: len(issued), 429: 50 - len(issued)} == statuses
    assert {"pending"} == {answer.json["delivery"]["status"] for answer in issued}
    reasons = {s["reason"] for a in issued for s in a.json["delivery"]["submissions"]}
    assert {"read-timeout", "deadline"} == reasons


def test_no_request_exceeds_the_deadline(hanging: HangingScenario) -> None:
    """The 99th percentile of fifty is the slowest; one second remains for everything else."""
    assert max(hanging.seconds) <= DEADLINE_SECONDS + 1


def test_every_message_is_charged_and_recorded(hanging: HangingScenario) -> None:
    """R26: the buckets, the audit log and the providers report the same count."""
    with redis_servers.open_client(hanging.redis) as client:
        (bucket,) = client.scan_iter("*:limit:SendsPerNumber:*")
        charged = len(msgspec.msgpack.decode(client.get(bucket))) // 2  # instants and marks

    events = hanging.service.fetch_events(type="otp.sent")

    assert [hanging.message_count] * 2 == [charged, len(events)]
    assert {"unknown"} == {event["outcome"] for event in events}


def test_the_code_of_an_unconfirmed_message_verifies(hanging: HangingScenario) -> None:
    """All providers received the same code."""
    *_, last = (answer for answer in hanging.answers if answer.status == 201)
    texts = [gateway.list_texts_to(NUMBER)[-1] for gateway in hanging.gateways]
    tenant = "bank" if "Bank" in texts[0] else "shop"

    verified = hanging.service.verify(last, hanging.gateways[0].find_code(NUMBER), by=tenant)

    assert 1 == len(set(texts))
    assert 200 == verified.status
