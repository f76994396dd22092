"""A19: receipts from outside: a hundred failures send nothing, and forged ones leave one event a provider."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from otp_service.store.embedded import EmbeddedServer
from tests.attacks.echoing_vendors import Echoing
from tests.processes import (
    CHEAPEST,
    ROOMY,
    Line,
    Service,
    call,
    let_cooldowns_pass,
    request,
    serve,
)
from tests.sms.providers.provider_contract import Says
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
otp_service.app.application.HOUSEKEEPING = 15.0
"""
"""Seconds: later than the last of the forged ones, and sooner than after a minute."""


class Running(NamedTuple):
    """What runs."""

    gateway: Echoing
    service: Service
    redis: EmbeddedServer


@pytest.fixture
def running(tmp_path) -> Iterator[Running]:
    """A service whose gateway is told where to bring receipts."""
    port = redis_servers.free_port()
    more = {"SERVICE__PORT": str(port), "SERVICE__PUBLIC_URL": f"http://127.0.0.1:{port}"}
    with Echoing() as gateway, redis_servers.start_server(tmp_path / "redis") as redis:
        gateway.answer = Says(200, {"id": "m-1"})
        settings = SETTINGS | ROOMY | CHEAPEST | more
        urls = [gateway.url, f"{gateway.url}/other"]
        with serve(
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
    made = [asked.callback for asked in gateway.asked]
    let_cooldowns_pass(redis)  # or those alone would stop them, and not the cap

    for address in made:
        brought = call(service.port, "POST", path_of(address), body=b"status=dead", headers=FORM)
        assert 204 == brought.status
    redis_servers.until(lambda: len(gateway.asked) >= FAILED + CAP, what="the last send")
    time.sleep(1)  # whoever sends afterwards tells nobody

    assert FAILED == len({*made})
    news = service.events(type="otp.delivery")
    assert [("technical-failure", True)] * FAILED == [(e["status"], e["trusted"]) for e in news]
    assert FAILED + CAP == len(gateway.asked)


async def test_a_thousand_forged_receipts_leave_one_event_a_provider_that_counts_them(
    running: Running,
) -> None:
    """A9: what strangers send fills no log. Nothing of the delivery changes either."""
    gateway, service, _ = running
    issued = await asyncio.to_thread(service.issue, "+447400718829")
    (asked,) = gateway.asked
    line = await Line.open(service.port)

    for number in range(FORGED):
        path = forged(path_of(asked.callback), number)
        asking = request("POST", path, body=b"status=dead", headers=FORM)
        assert 401 == (await line.ask(asking)).status, path
    line.close()

    def rejected() -> list[dict[str, Any]]:
        return service.events(type="callback.rejected")

    await asyncio.to_thread(redis_servers.until, rejected, deadline=30, what="housekeeping")
    counts = {each["provider"]: each["count"] for each in rejected()}
    assert {"gateway": FORGED * 3 // 4, "gateway2": FORGED // 4} == counts
    assert {"signature"} == {each["reason"] for each in rejected()}
    assert [] == service.events(type="otp.delivery")
    assert "submitted" == service.view(issued).json["delivery"]["status"]
    assert 1 == len(gateway.asked)


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
