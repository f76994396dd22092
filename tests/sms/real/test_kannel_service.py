"""A real Kannel with the whole service: codes, receipts, and failover to the next provider."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.processes import CHEAPEST_HASH_SETTINGS, GatewayServer, RunningService, run_service
from tests.sms.real.kannel import PASSWORD, USERNAME, KannelGateway, list_missing_programs
from tests.store import redis_servers


pytestmark = pytest.mark.slow

NUMBER, OTHER = "+447400123456", "+447400987654"


class KannelDeployment(NamedTuple):
    """A service, Kannel as its first provider, and a gateway as its second."""

    kannel: KannelGateway
    gateway: GatewayServer
    service: RunningService


@pytest.fixture
def kannel_deployment(tmp_path) -> Iterator[KannelDeployment]:
    """Return a service with Kannel first and an HTTP gateway second, all on loopback."""
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
        yield KannelDeployment(kannel, gateway, service)


def test_a_code_is_sent_through_kannel_and_its_receipt_returns(
    kannel_deployment: KannelDeployment,
) -> None:
    """The printed code verifies, and the challenge reports its delivery."""
    kannel, gateway, service = kannel_deployment

    issued = service.issue(NUMBER)
    printed = kannel.find_printed_line(NUMBER)
    (code,) = re.findall(r"\b[0-9]{6}\b", printed.partition("text")[2])

    assert 201 == issued.status
    assert [("kannel", "accepted")] == list_submissions(issued)
    redis_servers.wait_until(
        lambda: service.view(issued).json["delivery"]["status"] == "delivered",
        timeout_seconds=20,
        description="the report",
    )
    assert 200 == service.verify(issued, code).status
    assert [] == gateway.messages
    deliveries = service.fetch_events(type="otp.delivery")
    assert ("kannel", "delivered", True) == tuple(
        deliveries[0][name] for name in ("provider", "status", "trusted")
    )
    assert 1 <= service.count_samples("otp_receipts_total", provider="kannel", status="delivered")


@pytest.mark.parametrize("box", ["smsbox", "bearerbox"])
def test_the_next_provider_takes_over_when_kannel_is_killed(
    kannel_deployment: KannelDeployment, box: str
) -> None:
    """One code was sent through Kannel, and the next one is sent through the gateway."""
    kannel, gateway, service = kannel_deployment
    first = service.issue(NUMBER)
    code = re.findall(r"\b[0-9]{6}\b", kannel.find_printed_line(NUMBER).partition("text")[2])[0]

    kannel.kill_box(box)
    second = service.issue(OTHER)

    assert (201, 201) == (first.status, second.status)
    assert ("gateway", "accepted") == list_submissions(second)[-1]
    assert ["kannel", "gateway"] == [provider for provider, _ in list_submissions(second)]
    assert 200 == service.verify(second, gateway.find_code(OTHER)).status
    assert 200 == service.verify(first, code).status


def list_submissions(issued) -> list[tuple[str, str]]:
    """Return the provider and the outcome of each submission."""
    submissions = issued.json["delivery"]["submissions"]
    return [(submission["provider"], submission["outcome"]) for submission in submissions]
