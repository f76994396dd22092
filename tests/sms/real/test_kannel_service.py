"""A real Kannel with the whole service: codes, receipts, and failover to the next provider."""

import re
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

import pytest

from tests.processes import CHEAPEST_HASH_SETTINGS, GatewayServer, RunningService, run_service
from tests.sms.real.kannel import PASSWORD, USERNAME, KannelGateway, list_missing_programs
from tests.store import redis_servers


pytestmark = pytest.mark.slow

NUMBERS = (f"+4474001{group}345" for group in count(10))
"""Each is used once, as the tests share a service."""


class KannelDeployment(NamedTuple):
    """A service, Kannel as its first provider, and a gateway as its second."""

    kannel: KannelGateway
    gateway: GatewayServer
    service: RunningService


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KannelDeployment]:
    """Return a service with Kannel first and an HTTP gateway second; Kannel is not started yet."""
    if names := list_missing_programs():
        pytest.skip(f"no {names}: apt install kannel kannel-extras")
    folder, port = tmp_path_factory.mktemp("kannel"), redis_servers.find_free_port()
    kannel = KannelGateway(folder)
    with (
        redis_servers.start_server(folder / "redis") as redis,
        GatewayServer() as gateway,
        run_service(
            folder / "service",
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
        yield KannelDeployment(kannel, gateway, service)


@pytest.fixture
def kannel_deployment(deployment: KannelDeployment) -> Iterator[KannelDeployment]:
    """Return the service with a Kannel that was just started: a test may kill it."""
    with deployment.kannel as kannel:
        kannel.connect_network()
        yield deployment


def test_a_code_is_sent_through_kannel_and_its_receipt_returns(
    kannel_deployment: KannelDeployment,
) -> None:
    """The printed code verifies, and the challenge reports its delivery."""
    kannel, gateway, service = kannel_deployment
    number, received = next(NUMBERS), len(gateway.messages)

    issued = service.issue(number)
    printed = kannel.find_printed_line(number)
    (code,) = re.findall(r"\b[0-9]{6}\b", printed.partition("text")[2])

    assert 201 == issued.status
    assert [("kannel", "accepted")] == list_submissions(issued)
    redis_servers.wait_until(
        lambda: service.view(issued).json["delivery"]["status"] == "delivered",
        timeout_seconds=20,
        description="the report",
    )
    assert 200 == service.verify(issued, code).status
    assert received == len(gateway.messages)
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
    number, other = next(NUMBERS), next(NUMBERS)
    first = service.issue(number)
    code = re.findall(r"\b[0-9]{6}\b", kannel.find_printed_line(number).partition("text")[2])[0]

    kannel.kill_box(box)
    second = service.issue(other)

    assert (201, 201) == (first.status, second.status)
    assert ("gateway", "accepted") == list_submissions(second)[-1]
    assert ["kannel", "gateway"] == [provider for provider, _ in list_submissions(second)]
    assert 200 == service.verify(second, gateway.find_code(other)).status
    assert 200 == service.verify(first, code).status


def list_submissions(issued) -> list[tuple[str, str]]:
    """Return the provider and the outcome of each submission."""
    submissions = issued.json["delivery"]["submissions"]
    return [(submission["provider"], submission["outcome"]) for submission in submissions]
