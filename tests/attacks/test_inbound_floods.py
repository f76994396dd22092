"""A caller with the token of /v1/inbound: what it can write, what it delays, and where the token is not."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from otp_service.api.inbound_admission import MAX_RUNNING_REQUESTS, MAX_WAITING_REQUESTS
from otp_service.store.embedded import EmbeddedServer
from tests.processes import (
    CHEAPEST_HASH_SETTINGS,
    HIGH_CAPACITY_SETTINGS,
    METRICS_DELAY_SECONDS,
    GatewayServer,
    RawConnection,
    RunningService,
    build_request,
    delete_cooldowns,
    run_service,
)
from tests.store import redis_servers
from tests.trace_collector import TraceCollector


pytestmark = pytest.mark.slow

TOKEN, PREVIOUS = "worthless-token-of-inbound", "worthless-token-of-before"
GATEWAY_TOKEN = "worthless-token-of-gateway"
FLOOD_TOKEN = "worthless-token-of-flood"
FORGED, FLOODED = "phones", "flooded"
"""Two vendors, so that what one test counts is no message of another test."""
VENDOR = '{{ type = "infobip", base_url = "https://sms.example", api_key = "worthless", {} }}'
"""It signs nothing, and nothing is sent through it."""
TOKENS = {FORGED: TOKEN, FLOODED: FLOOD_TOKEN}
LIMITS = ("SENDS_PER_PREFIX", "SENDS_PER_COUNTRY", "SENDS_PER_TENANT", "SENDS_OVERALL")
SETTINGS = {
    "PROVIDERS__PHONES": VENDOR.format(
        f'inbound_token = "{TOKEN}", previous_inbound_token = "{PREVIOUS}"'
    ),
    "PROVIDERS__FLOODED": VENDOR.format(f'inbound_token = "{FLOOD_TOKEN}"'),
    "PROVIDERS__GATEWAY__INBOUND": '{ sender = "from", text = "text" }',
    "PROVIDERS__GATEWAY__INBOUND_TOKEN": GATEWAY_TOKEN,
    "ROUTING__PROVIDERS": '["gateway"]',
    **{f"LIMITS__{name}": '["900000 in 1 h"]' for name in LIMITS},
}

FORGED_COUNT, BATCH_SIZE, CONNECTIONS = 200, 1_000, 4
HOUSEKEEPING_SECONDS = 10.0
SITECUSTOMIZE = f"""
import os
import otp_service.app.application
otp_service.app.application.HOUSEKEEPING_INTERVAL_SECONDS = {HOUSEKEEPING_SECONDS}
os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "100"
"""
CANARY = "864209"
"""A code that a person typed to the wrong place."""
SENDER = "447400555111"


class FloodedService(NamedTuple):
    """A service, its gateway and its Redis."""

    service: RunningService
    gateway: GatewayServer
    redis: EmbeddedServer


@pytest.fixture(scope="module")
def flooded_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FloodedService]:
    """Return a service with a vendor whose messages the token proves."""
    folder = tmp_path_factory.mktemp("flooded")
    with GatewayServer() as gateway, redis_servers.start_server(folder / "redis") as redis:
        settings = SETTINGS | HIGH_CAPACITY_SETTINGS | CHEAPEST_HASH_SETTINGS
        with run_service(
            folder / "s", redis, [gateway.url], workers=1, sitecustomize=SITECUSTOMIZE, **settings
        ) as service:
            yield FloodedService(service, gateway, redis)


def build_call(provider: str, *messages: tuple[str, str]) -> bytes:
    """Build the request of these messages, each a sender and a text."""
    results = [
        {"messageId": sender, "from": sender, "to": "447400987654", "text": text}
        for sender, text in messages
    ]
    body = json.dumps({"results": results}).encode()
    headers = {"Content-Type": "application/json"}
    path = f"/v1/inbound/{provider}?token={TOKENS[provider]}"
    return build_request("POST", path, body=body, headers=headers)


def list_keys(redis: EmbeddedServer) -> set[bytes]:
    """Return all keys but those of the events and folded counts that the housekeeping writes."""
    client = redis_servers.open_client(redis)
    own = {b"log", b"events", b"operation", b"folds", b"due", b"refusals"}
    keys = {key for key in client.scan_iter(count=10_000) if key.split(b":")[1] not in own}
    client.close()
    return keys


def log_in(flooded: FloodedService, number: str) -> float:
    """Issue and verify a code, and return the seconds."""
    started = time.monotonic()
    issued = flooded.service.issue(number)
    assert 201 == issued.status
    assert 200 == flooded.service.verify(issued, flooded.gateway.find_code(number)).status
    return time.monotonic() - started


async def log_in_meanwhile(flooded: FloodedService, flood: "asyncio.Future[Any]") -> list[float]:
    """Log in while the flood lasts, and return the seconds of each login."""
    seconds: list[float] = []
    while not flood.done() and len(seconds) < 90:
        number = f"+4474007{len(seconds):02d}829"
        seconds.append(await asyncio.to_thread(log_in, flooded, number))
    return seconds


async def send_stops(service: RunningService, provider: str) -> list[int]:
    """Send STOP for FORGED_COUNT numbers, one by one on each of some connections."""

    async def send_some(first: int) -> list[int]:
        connection = await RawConnection.connect(service.port)
        numbers = range(first, FORGED_COUNT, CONNECTIONS)
        calls = [build_call(provider, (f"4474003{number:05d}", "STOP")) for number in numbers]
        statuses = [(await connection.exchange(call)).status for call in calls]
        connection.close()
        return statuses

    statuses = await asyncio.gather(*map(send_some, range(CONNECTIONS)))
    return [status for each in statuses for status in each]


async def test_forged_messages_with_the_token_write_nothing(
    flooded_service: FloodedService,
) -> None:
    """A forged sender is in a message that its vendor really passes on, so the token does not help.

    Nothing was sent to these numbers. Hundreds come one by one, and a thousand in one call.
    """
    service, _, redis = flooded_service
    log_in(flooded_service, "+447400600829")
    keys, changes = list_keys(redis), list_number_changes(service)
    started = time.monotonic()

    statuses = await send_stops(service, FORGED)
    connection = await RawConnection.connect(service.port)
    batch = [(f"4474004{number:05d}", "STOP") for number in range(BATCH_SIZE)]
    statuses.append((await connection.exchange(build_call(FORGED, *batch))).status)
    connection.close()

    assert [204] * (FORGED_COUNT + 1) == statuses
    assert set() == list_keys(redis) - keys
    await assert_folded(service, started)
    assert set() == list_keys(redis) - keys
    assert changes == list_number_changes(service)
    assert 201 == (await asyncio.to_thread(service.issue, "+447400300001")).status


async def test_logins_go_on_while_messages_are_forged(flooded_service: FloodedService) -> None:
    """They are compared with the keywords and looked up, and no login waits for them."""
    flood = asyncio.ensure_future(send_stops(flooded_service.service, FLOODED))

    seconds = await log_in_meanwhile(flooded_service, flood)

    assert [204] * FORGED_COUNT == await flood
    assert seconds
    assert max(seconds) < 5


async def assert_folded(service: RunningService, started: float) -> None:
    """Wait for the count of the forged messages: one event for each run of the housekeeping."""

    def fetch_rejections() -> list[dict[str, Any]]:
        rejections = service.fetch_events(type="callback.rejected")
        return [each for each in rejections if each["provider"] == FORGED]

    def count_forged() -> int:
        return sum(each["count"] for each in fetch_rejections())

    await asyncio.to_thread(
        redis_servers.wait_until,
        lambda: count_forged() >= FORGED_COUNT + BATCH_SIZE,
        timeout_seconds=40,
        description="housekeeping",
    )
    rejections = fetch_rejections()
    most = (time.monotonic() - started) / HOUSEKEEPING_SECONDS + 1
    assert FORGED_COUNT + BATCH_SIZE == sum(each["count"] for each in rejections)
    assert {"unexpected"} == {each["reason"] for each in rejections}
    assert len(rejections) <= most


def list_number_changes(service: RunningService) -> list[str]:
    """Return the types of the events that opt a number out or in, oldest first."""
    types = [event["type"] for event in service.fetch_events()]
    return [each for each in reversed(types) if each.startswith("number.")]


def test_a_stop_counts_only_through_the_provider_that_sent(flooded_service: FloodedService) -> None:
    """The token of one vendor opts nobody out to whom another one has sent; START lifts an opt-out."""
    service, number = flooded_service.service, "+447400610829"
    log_in(flooded_service, number)

    def answer(provider: str, token: str, text: str) -> int:
        message = {"messageId": "1", "from": number[1:], "text": text}
        body = {"results": [message]} if provider == "phones" else message
        path = f"/v1/inbound/{provider}?token={token}"
        return service.send_request("POST", path, by="", body=body).status

    def issue() -> tuple[int, str]:
        delete_cooldowns(flooded_service.redis)
        issued = service.issue(number)
        return issued.status, issued.json.get("reason", "")

    assert 204 == answer("phones", TOKEN, "STOP")
    assert 401 == answer("gateway", TOKEN, "STOP")
    assert (201, "") == issue()
    assert 204 == answer("gateway", GATEWAY_TOKEN, " Stop.")
    assert (422, "opted_out") == issue()
    assert 204 == answer("phones", TOKEN, "START")
    assert (422, "opted_out") == issue()
    assert 204 == answer("gateway", GATEWAY_TOKEN, "start")
    assert (201, "") == issue()
    assert ["number.opted_out", "number.opted_in"] == list_number_changes(service)


async def test_more_calls_at_once_than_a_provider_may_have_are_503(
    flooded_service: FloodedService,
) -> None:
    """Each has a hundred keywords, so each asks Redis a hundred times; logins go on meanwhile."""
    service = flooded_service.service
    count = 2 * (MAX_RUNNING_REQUESTS + MAX_WAITING_REQUESTS)
    batch = build_call(FLOODED, *((f"4474005{number:05d}", "STOP") for number in range(100)))
    connections = [await RawConnection.connect(service.port) for _ in range(count)]

    flood = asyncio.ensure_future(asyncio.gather(*(each.exchange(batch) for each in connections)))
    seconds = await log_in_meanwhile(flooded_service, flood)
    answers = await flood
    for each in connections:
        each.close()

    statuses = [answer.status for answer in answers]
    assert {204, 503} == {*statuses}
    assert statuses.count(204) >= MAX_RUNNING_REQUESTS + MAX_WAITING_REQUESTS
    assert all(answer.headers["retry-after"] for answer in answers if answer.status == 503)
    assert seconds
    assert max(seconds) < 10


def test_neither_the_token_nor_a_text_is_in_any_output(tmp_path) -> None:
    """R68: at DEBUG and through every answer of this address, also in spans and in Redis."""
    with (
        GatewayServer() as gateway,
        redis_servers.start_server(tmp_path / "redis") as redis,
        TraceCollector() as collector,
        run_service(
            tmp_path / "s",
            redis,
            [gateway.url],
            workers=1,
            sitecustomize=SITECUSTOMIZE,
            SERVICE__LOG_LEVEL="debug",
            TELEMETRY__TRACES=collector.url,
            REDIS__TIMEOUT_MILLISECONDS="400",
            **SETTINGS,
        ) as service,
    ):
        statuses = call_in_every_way(service, redis)
        time.sleep(METRICS_DELAY_SECONDS)  # the worker's own clock
        redis_servers.wait_until(
            lambda: b"/v1/inbound/{provider" in collector.bodies, description="the spans"
        )
        outputs = {
            "log": service.log.read_bytes(),
            "metrics": service.fetch_metrics().encode(),
            "events": repr(service.fetch_events()).encode(),
            "spans": collector.bodies,
            "answers": repr(service.responses).encode(),
            "Redis": dump_redis(redis),
        }

    assert {204, 400, 401, 404, 405, 413, 503} == {*statuses}
    for name, output in outputs.items():
        assert output, name
        words = (TOKEN, PREVIOUS, "worthless-token", CANARY, SENDER)
        assert not [word for word in words if word.encode() in output], name


def call_in_every_way(service: RunningService, redis: EmbeddedServer) -> list[int]:
    """Send a text with a code in every way that has an answer of its own, and return the statuses."""
    stop = {"results": [{"from": SENDER, "text": "STOP", "messageId": CANARY}]}
    other = {"results": [{"from": SENDER, "text": f"STOP {CANARY}", "messageId": "1"}]}
    right, wrong = f"/v1/inbound/phones?token={TOKEN}", f"/v1/inbound/phones?token={TOKEN}x"

    def call(method: str, path: str, body: Any = other, **more: Any) -> int:
        return service.send_request(method, path, by="", body=body, **more).status

    statuses = [
        call("POST", right),
        call("POST", right, stop),
        call("POST", f"/v1/inbound/phones?token={PREVIOUS}"),
        call("POST", wrong),
        call("POST", f"{right}&token={TOKEN}y"),
        call("POST", right.replace("phones", "nobody")),
        call("POST", right.replace("inbound", "callbacks")),
        call("POST", right, {"results": [{"from": "1", "text": CANARY, "messageId": "1"}] * 1_001}),
        call("POST", right, {"results": f"{SENDER} {CANARY}"}),
        call("POST", right, {"results": [], "padding": CANARY * 60_000}),
        call("GET", f"{right}&text={CANARY}&from={SENDER}", None),
        *(call(method, right, None) for method in ("HEAD", "PUT", "DELETE", "OPTIONS")),
    ]
    with redis_servers.suspend_server(redis):
        statuses.append(call("POST", right, stop))
    return statuses


def dump_redis(redis: EmbeddedServer) -> bytes:
    """Return every key with its value as Redis serializes it."""
    client = redis_servers.open_client(redis)
    keys = [*client.scan_iter(count=10_000)]
    dumps = [client.dump(key) or b"" for key in keys]
    client.close()
    return b" ".join([*keys, *dumps])
