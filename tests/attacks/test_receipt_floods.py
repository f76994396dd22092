"""A19: many failure receipts send little, and forged receipts leave one event a provider."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from otp_service.store.embedded import EmbeddedServer
from tests.attacks.echoing_vendors import EchoingGateway
from tests.processes import (
    CHEAPEST_HASH_SETTINGS,
    HIGH_CAPACITY_SETTINGS,
    RawConnection,
    RunningService,
    build_request,
    delete_cooldowns,
    run_service,
    send_request,
)
from tests.sms.providers.provider_contract import GatewayReply
from tests.store import redis_servers


pytestmark = pytest.mark.slow

LIMITS = ("SENDS_PER_PREFIX", "SENDS_PER_COUNTRY", "SENDS_PER_TENANT", "SENDS_OVERALL")
SETTINGS = {
    "PROVIDERS__GATEWAY__FIELDS": '{ to = "{to}", text = "{text}", tell = "{callback}" }',
    "PROVIDERS__GATEWAY__RECEIPT": '{ status = "status", failed = ["dead"] }',
    "PROVIDERS__GATEWAY2__RECEIPT": '{ status = "status", failed = ["dead"] }',
    **{f"LIMITS__{name}": '["900000 in 1 h"]' for name in LIMITS},
}
FORGED_COUNT, FAILED_COUNT, AUTO_RESENDS_PER_PREFIX = 200, 20, 5
FORM_HEADERS = {"Content-Type": "application/x-www-form-urlencoded"}

HOUSEKEEPING_SECONDS = 15.0
SITECUSTOMIZE = f"""
import otp_service.app.application
otp_service.app.application.HOUSEKEEPING_INTERVAL_SECONDS = {HOUSEKEEPING_SECONDS}
"""
"""Housekeeping runs after the last forged receipt, and sooner than after one minute."""


class FloodedService(NamedTuple):
    """A service and its gateway and Redis."""

    gateway: EchoingGateway
    service: RunningService
    redis: EmbeddedServer


@pytest.fixture(scope="module")
def flooded_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FloodedService]:
    """Return a service whose requests to the gateway contain a callback URL."""
    folder, port = tmp_path_factory.mktemp("flooded"), redis_servers.find_free_port()
    callback_settings = {
        "SERVICE__PORT": str(port),
        "SERVICE__PUBLIC_URL": f"http://127.0.0.1:{port}",
    }
    with EchoingGateway() as gateway, redis_servers.start_server(folder / "redis") as redis:
        gateway.reply = GatewayReply(200, {"id": "m-1"})
        settings = SETTINGS | HIGH_CAPACITY_SETTINGS | CHEAPEST_HASH_SETTINGS | callback_settings
        urls = [gateway.url, f"{gateway.url}/other"]
        with run_service(
            folder / "s", redis, urls, workers=1, sitecustomize=SITECUSTOMIZE, **settings
        ) as service:
            yield FloodedService(gateway, service, redis)


def test_failures_of_one_prefix_start_no_more_sends_than_its_cap(
    flooded_service: FloodedService,
) -> None:
    """Each receipt is for its own submission, with its own token, and each is recorded.

    A failure may start a send through the next provider, at most five times a prefix in an hour.
    """
    gateway, service, redis = flooded_service
    gateway.messages.clear()
    for number in range(FAILED_COUNT):
        assert 201 == service.issue(f"+44740071{number:02d}29").status
    callback_urls = [message.callback_url for message in gateway.messages]
    delete_cooldowns(redis)  # otherwise the cooldowns would stop the sends, and not the cap

    for callback_url in callback_urls:
        response = send_request(
            service.port,
            "POST",
            extract_path(callback_url),
            body=b"status=dead",
            headers=FORM_HEADERS,
        )
        assert 204 == response.status
    redis_servers.wait_until(
        lambda: len(gateway.messages) >= FAILED_COUNT + AUTO_RESENDS_PER_PREFIX,
        description="the last send",
    )
    time.sleep(1)  # a further send would arrive by now

    assert FAILED_COUNT == len({*callback_urls})
    deliveries = service.fetch_events(type="otp.delivery")
    assert [("technical-failure", True)] * FAILED_COUNT == [
        (e["status"], e["trusted"]) for e in deliveries
    ]
    assert FAILED_COUNT + AUTO_RESENDS_PER_PREFIX == len(gateway.messages)


async def test_forged_receipts_leave_one_event_a_provider_that_counts_them(
    flooded_service: FloodedService,
) -> None:
    """A9: receipts of unauthenticated callers fill no log and change no delivery status."""
    gateway, service, _ = flooded_service
    gateway.messages.clear()
    issued = await asyncio.to_thread(service.issue, "+447400728829")
    (message,) = gateway.messages
    started = time.monotonic()
    connection = await RawConnection.connect(service.port)

    for number in range(FORGED_COUNT):
        path = forge_path(extract_path(message.callback_url), number)
        request = build_request("POST", path, body=b"status=dead", headers=FORM_HEADERS)
        assert 401 == (await connection.exchange(request)).status, path
    connection.close()

    def fetch_rejections() -> list[dict[str, Any]]:
        return service.fetch_events(type="callback.rejected")

    await asyncio.to_thread(
        redis_servers.wait_until,
        lambda: sum(each["count"] for each in fetch_rejections()) >= FORGED_COUNT,
        timeout_seconds=40,
        interval_seconds=0.5,
        description="housekeeping",
    )
    counts = Counter[str]()
    for each in fetch_rejections():
        counts[each["provider"]] += each["count"]
    most = 2 * ((time.monotonic() - started) / HOUSEKEEPING_SECONDS + 1)
    assert {"gateway": FORGED_COUNT * 3 // 4, "gateway2": FORGED_COUNT // 4} == counts
    assert len(fetch_rejections()) <= most
    assert {"signature"} == {each["reason"] for each in fetch_rejections()}
    assert [] == service.fetch_events(challenge=issued.json["id"], type="otp.delivery")
    assert "submitted" == service.view(issued).json["delivery"]["status"]
    assert 1 == len(gateway.messages)


def extract_path(url: str) -> str:
    """Return the path and the query of a URL."""
    return urlsplit(url)._replace(scheme="", netloc="").geturl()


def forge_path(path: str, number: int) -> str:
    """Return the path with another token, submission or provider, or without a token."""
    bare, _, query = path.partition("?")
    fields = dict(parse_qsl(query))
    match number % 4:
        case 0:
            fields["token"] = fields["token"][:-6] + f"{number:06x}"
        case 1:
            fields["ref"] = fields["ref"][:-1] + str(2 + number % 8)
        case 2:
            bare = bare.replace("/gateway", "/gateway2")
        case _:
            del fields["token"]
    return f"{bare}?{urlencode(fields)}"
