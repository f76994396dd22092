"""A real Kannel with the whole service: a phone's STOP ends its codes, and nothing is sent back.

Kannel has the configuration that docs/inbound.md shows.
"""

import re
from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

import pytest

from otp_service.store.embedded import EmbeddedServer
from tests.processes import (
    CHEAPEST_HASH_SETTINGS,
    REPOSITORY_ROOT,
    GatewayServer,
    RunningService,
    delete_cooldowns,
    run_service,
)
from tests.sms.real.kannel import (
    OWN_NUMBER,
    PASSWORD,
    USERNAME,
    KannelGateway,
    list_missing_programs,
)
from tests.store import redis_servers


pytestmark = pytest.mark.slow

INBOUND_TOKEN = "worthless-but-long-enough"
PAGE = (REPOSITORY_ROOT / "docs" / "inbound.md").read_text()
GROUP_PATTERN = re.compile(
    r"```\ngroup = sms-service\nkeyword = default\ncatch-all = true\n(.*?)\n```", re.DOTALL
)
SERVICES = {
    "get-url" if "get-url" in group else "post-url": group for group in GROUP_PATTERN.findall(PAGE)
}
"""The groups `sms-service` of docs/inbound.md."""
PAGE_URL = "https://otp.example.com/v1/inbound/kannel"
FORGED_SERVICE = """

group = sms-service
keyword = forged
max-messages = 0
get-url = "{url}?token=worthless-and-also-wrong&from=%p&to=%P&text=%r&id=%I&charset=%C"
"""
"""Kannel passes the rest of a message that begins with `forged` on, with a wrong token."""

NUMBERS = (f"+4474001234{i:02}" for i in count(10))


class InboundDeployment(NamedTuple):
    """A service with Kannel as its first provider, which passes messages from phones on."""

    kannel: KannelGateway
    service: RunningService
    redis: EmbeddedServer

    def send_code(self) -> str:
        """Send a code to another number, and return it; the next code may be sent at once."""
        number = next(NUMBERS)
        assert 201 == self.service.issue(number).status
        self.kannel.wait_for_output(f" {number} ")
        delete_cooldowns(self.redis)
        return number

    def wait_for_event(self, number: str, event_type: str) -> dict[str, Any]:
        """Return the event of this type about a number; NUMBERS have different last digits."""
        found: list[dict[str, Any]] = []

        def find_event() -> bool:
            events = self.service.fetch_events(type=event_type)
            found[:] = [each for each in events if each["number_suffix"] == number[-2:]]
            return bool(found)

        redis_servers.wait_until(find_event, description=event_type)
        return found[0]

    def wait_for_sample(self, name: str, **labels: str) -> None:
        """Wait until a metric has counted something."""
        redis_servers.wait_until(
            lambda: self.service.count_samples(name, **labels), description=f"{name} {labels}"
        )

    def count_messages_after_next_code(self, number: str) -> int:
        """Return how many messages this phone has got, once a later one to another phone is there.

        smsbox sends its reply before it reads the next message of sendsms.
        """
        self.send_code()
        return len(self.kannel.list_printed_lines(number))


@pytest.fixture(scope="module", params=["get-url", "post-url"])
def deployment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InboundDeployment]:
    """Return a service behind Kannel, all on loopback; each way of passing messages on has one."""
    if names := list_missing_programs():
        pytest.skip(f"no {names}: apt install kannel kannel-extras")
    folder, port = tmp_path_factory.mktemp("inbound"), redis_servers.find_free_port()
    url = f"http://127.0.0.1:{port}/v1/inbound/kannel"
    group = SERVICES[request.param].replace(PAGE_URL, url).replace("SECRET", INBOUND_TOKEN)
    service_group = group + FORGED_SERVICE.format(url=url)
    with (
        redis_servers.start_server(folder / "redis") as redis,
        GatewayServer() as gateway,
        KannelGateway(folder, service_group) as kannel,
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
            PROVIDERS__KANNEL__INBOUND_TOKEN=INBOUND_TOKEN,
            ROUTING__PROVIDERS='["kannel", "gateway"]',
            **CHEAPEST_HASH_SETTINGS,
        ) as service,
    ):
        kannel.connect_network()
        yield InboundDeployment(kannel, service, redis)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("text", "STOP"),
        ("text", '"stop."'),
        ("text", "Arr\u00eat"),
        ("ucs2", "%00S%00T%00O%00P"),
        ("ucs2", "%00O%00P%00T%00%20%00O%00U%00T"),
        ("ucs2", "%00a%00r%00r%00%EA%00t"),
    ],
)
def test_a_stop_reaches_the_list_and_the_next_issue_is_refused(
    deployment: InboundDeployment, kind: str, text: str
) -> None:
    """Its phone gets no further message: neither a code, nor an answer to STOP.

    Seen to fail without `max-messages = 0`, for which Kannel sends "<Empty reply from service
    provider>".
    """
    number = deployment.send_code()

    deployment.kannel.send_from_phone(number.lstrip("+"), text, kind)
    event = deployment.wait_for_event(number, "number.opted_out")
    refused = deployment.service.issue(number)

    assert ("kannel", OWN_NUMBER, "stop") == tuple(
        event[name] for name in ("provider", "own_number", "keyword")
    )
    assert (422, "number-not-allowed") == (refused.status, refused.problem_type)
    assert "opted_out" == refused.json["reason"]
    assert 1 == deployment.count_messages_after_next_code(number)


def test_a_start_lifts_it(deployment: InboundDeployment) -> None:
    """The next code is sent, and START itself is not answered."""
    number = deployment.send_code()
    deployment.kannel.send_from_phone(number, "STOP")
    deployment.wait_for_event(number, "number.opted_out")

    deployment.kannel.send_from_phone(number, "start")
    deployment.wait_for_event(number, "number.opted_in")

    assert 201 == deployment.service.issue(number).status
    assert 2 == deployment.count_messages_after_next_code(number)


def test_nothing_is_sent_back_for_another_text(deployment: InboundDeployment) -> None:
    """It has no effect but a count, and its text is in no log of the service (it may be a code)."""
    number = deployment.send_code()

    deployment.kannel.send_from_phone(number, "what is 864209 for")
    deployment.wait_for_sample("otp_inbound_messages_total", provider="kannel", result="other")

    assert 1 == deployment.count_messages_after_next_code(number)
    delete_cooldowns(deployment.redis)
    assert 201 == deployment.service.issue(number).status
    assert "864209" not in deployment.service.log.read_text()


def test_nothing_is_sent_back_for_a_wrong_token(deployment: InboundDeployment) -> None:
    """Kannel gets 401, which without `max-messages = 0` would be a message to the phone."""
    number = deployment.send_code()

    deployment.kannel.send_from_phone(number, "forged STOP")
    deployment.wait_for_sample("otp_callbacks_rejected_total", provider="kannel", reason="token")

    assert 1 == deployment.count_messages_after_next_code(number)
    delete_cooldowns(deployment.redis)
    assert 201 == deployment.service.issue(number).status
