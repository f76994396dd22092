"""A19: receipts from outside: a hundred failures send nothing, and forged ones leave one event a provider."""

import asyncio
import time
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
FORGED, FAILED, CAP = 1_000, 100, 5
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

SOON = """
import otp_service.app.application
otp_service.app.application.HOUSEKEEPING_INTERVAL_SECONDS = 15.0
"""
"""Seconds: later than the last of the forged ones, and sooner than after a minute."""


class Running(NamedTuple):
    """What runs."""

    gateway: EchoingGateway
    service: RunningService
    redis: EmbeddedServer


@pytest.fixture
def running(tmp_path) -> Iterator[Running]:
    """A service whose gateway is told where to bring receipts."""
    port = redis_servers.find_free_port()
    more = {"SERVICE__PORT": str(port), "SERVICE__PUBLIC_URL": f"http://127.0.0.1:{port}"}
    with EchoingGateway() as gateway, redis_servers.start_server(tmp_path / "redis") as redis:
        gateway.reply = GatewayReply(200, {"id": "m-1"})
        settings = SETTINGS | HIGH_CAPACITY_SETTINGS | CHEAPEST_HASH_SETTINGS | more
        urls = [gateway.url, f"{gateway.url}/other"]
        with run_service(
            tmp_path / "s", redis, urls, workers=1, sitecustomize=SOON, **settings
        ) as service:
            yield Running(gateway, service, redis)


def test_a_hundred_failures_of_one_prefix_start_no_more_sends_than_its_cap(
    running: Running,
) -> None:
    """Each is about a submission of its own, with its own token, and each is noted.

    A failure may start a send through the next provider, at most five times a prefix in an hour.
    """
    gateway, service, redis = running
    for number in range(FAILED):
        assert 201 == service.issue(f"+44740071{number:02d}29").status
    made = [asked.callback_url for asked in gateway.messages]
    delete_cooldowns(redis)  # or those alone would stop them, and not the cap

    for address in made:
        brought = send_request(
            service.port, "POST", path_of(address), body=b"status=dead", headers=FORM
        )
        assert 204 == brought.status
    redis_servers.wait_until(
        lambda: len(gateway.messages) >= FAILED + CAP, description="the last send"
    )
    time.sleep(1)  # whoever sends afterwards tells nobody

    assert FAILED == len({*made})
    news = service.fetch_events(type="otp.delivery")
    assert [("technical-failure", True)] * FAILED == [(e["status"], e["trusted"]) for e in news]
    assert FAILED + CAP == len(gateway.messages)


async def test_a_thousand_forged_receipts_leave_one_event_a_provider_that_counts_them(
    running: Running,
) -> None:
    """A9: what strangers send fills no log. Nothing of the delivery changes either."""
    gateway, service, _ = running
    issued = await asyncio.to_thread(service.issue, "+447400718829")
    (asked,) = gateway.messages
    line = await RawConnection.connect(service.port)

    for number in range(FORGED):
        path = forged(path_of(asked.callback_url), number)
        asking = build_request("POST", path, body=b"status=dead", headers=FORM)
        assert 401 == (await line.exchange(asking)).status, path
    line.close()

    def rejected() -> list[dict[str, Any]]:
        return service.fetch_events(type="callback.rejected")

    await asyncio.to_thread(
        redis_servers.wait_until, rejected, timeout_seconds=30, description="housekeeping"
    )
    counts = {each["provider"]: each["count"] for each in rejected()}
    assert {"gateway": FORGED * 3 // 4, "gateway2": FORGED // 4} == counts
    assert {"signature"} == {each["reason"] for each in rejected()}
    assert [] == service.fetch_events(type="otp.delivery")
    assert "submitted" == service.view(issued).json["delivery"]["status"]
    assert 1 == len(gateway.messages)


def path_of(address: str) -> str:
    """Return the path and query of an address."""
    return urlsplit(address)._replace(scheme="", netloc="").geturl()


def forged(path: str, number: int) -> str:
    """Return the path with another token, another submission, or at another provider."""
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
