"""Kannel for real under the whole service: codes out, receipts in, and the next one takes over."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.processes import CHEAPEST_HASH_SETTINGS, GatewayServer, RunningService, run_service
from tests.sms.real.kannel import PASSWORD, USERNAME, KannelGateway, list_missing_programs
from tests.store import redis_servers


pytestmark = pytest.mark.slow

NUMBER, OTHER = "+447400123456", "+447400987654"


class Running(NamedTuple):
    """What runs."""

    kannel: KannelGateway
    gateway: GatewayServer
    service: RunningService


@pytest.fixture
def running(tmp_path) -> Iterator[Running]:
    """A service with Kannel first and a gateway that takes HTTP second, all on loopback."""
    if names := list_missing_programs():
        pytest.skip(f"no {names}: apt install kannel kannel-extras")
    port = redis_servers.find_free_port()
    with (
        redis_servers.start_server(tmp_path / "redis") as redis,
        GatewayServer() as gateway,
        KannelGateway(tmp_path) as kannel,
        run_service(
            tmp_path / "service",
            redis,
            [gateway.url],
            workers=1,
            SERVICE__PORT=str(port),
            SERVICE__PUBLIC_URL=f"http://127.0.0.1:{port}",
            PROVIDERS__KANNEL__TYPE="kannel",
            PROVIDERS__KANNEL__BASE_URL=kannel.url,
            PROVIDERS__KANNEL__USERNAME=USERNAME,
            PROVIDERS__KANNEL__PASSWORD=PASSWORD,
            ROUTING__PROVIDERS='["kannel", "gateway"]',
            **CHEAPEST_HASH_SETTINGS,
        ) as service,
    ):
        kannel.connect_network()
        yield Running(kannel, gateway, service)


def test_a_code_goes_through_kannel_and_its_report_comes_back(running: Running) -> None:
    """What the network prints verifies, and the challenge says that it was delivered."""
    kannel, gateway, service = running

    issued = service.issue(NUMBER)
    printed = kannel.find_printed_line(NUMBER)
    (code,) = re.findall(r"\b[0-9]{6}\b", printed.partition("text")[2])

    assert 201 == issued.status
    assert [("kannel", "accepted")] == submissions(issued)
    redis_servers.wait_until(
        lambda: service.view(issued).json["delivery"]["status"] == "delivered",
        timeout_seconds=20,
        description="the report",
    )
    assert 200 == service.verify(issued, code).status
    assert [] == gateway.messages
    news = service.fetch_events(type="otp.delivery")
    assert ("kannel", "delivered", True) == tuple(
        news[0][name] for name in ("provider", "status", "trusted")
    )
    assert 1 <= service.count_samples("otp_receipts_total", provider="kannel", status="delivered")


@pytest.mark.parametrize("box", ["smsbox", "bearerbox"])
def test_the_next_provider_takes_over_when_kannel_is_killed(running: Running, box: str) -> None:
    """In the middle of things: one code through Kannel, and the next one all the same."""
    kannel, gateway, service = running
    first = service.issue(NUMBER)
    code = re.findall(r"\b[0-9]{6}\b", kannel.find_printed_line(NUMBER).partition("text")[2])[0]

    kannel.kill_box(box)
    second = service.issue(OTHER)

    assert (201, 201) == (first.status, second.status)
    assert ("gateway", "accepted") == submissions(second)[-1]
    assert ["kannel", "gateway"] == [provider for provider, _ in submissions(second)]
    assert 200 == service.verify(second, gateway.find_code(OTHER)).status
    assert 200 == service.verify(first, code).status


def submissions(issued) -> list[tuple[str, str]]:
    """Return through whom a code was sent, and what became of that."""
    made = issued.json["delivery"]["submissions"]
    return [(each["provider"], each["outcome"]) for each in made]
