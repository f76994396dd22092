"""R65: what costs a caller nothing displaces no event of others, without an archive either."""

from collections.abc import Iterator

import pytest

from otp_service.store.embedded import EmbeddedServer
from tests.processes import (
    CHEAPEST_HASH_SETTINGS,
    HIGH_CAPACITY_SETTINGS,
    GatewayServer,
    RunningService,
    delete_cooldowns,
    run_service,
)
from tests.store import redis_servers


pytestmark = pytest.mark.slow

MAX_EVENTS, NODE_ENTRIES = 64, 16
"""Entries that a partition keeps, and those that Redis deletes together: both fewer than in production."""

FLOOD_CALLS = 150
"""More than a partition keeps: 64, the rest of a node, and 32 from one trim to the next."""

SITECUSTOMIZE = f"""
from otp_service.store.redis_store import RedisStore

create_store = RedisStore.__init__

def create_small_store(self, *positional, **named):
    create_store(self, *positional, **named | {{"max_stream_entries": {MAX_EVENTS}}})

RedisStore.__init__ = create_small_store
"""
"""The lowest `events.maximum` is 1,000, and a flood of it takes a minute."""


@pytest.fixture(scope="module")
def gateway() -> Iterator[GatewayServer]:
    with GatewayServer() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    folder = tmp_path_factory.mktemp("redis")
    entries = str(NODE_ENTRIES)
    with redis_servers.start_server(folder, stream_node_max_entries=entries) as redis:
        yield redis


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, redis: EmbeddedServer, gateway: GatewayServer
) -> Iterator[RunningService]:
    """Return a service without an archive and with a small log."""
    settings = HIGH_CAPACITY_SETTINGS | CHEAPEST_HASH_SETTINGS
    folder = tmp_path_factory.mktemp("service")
    with run_service(
        folder, redis, [gateway.url], workers=1, sitecustomize=SITECUSTOMIZE, **settings
    ) as service:
        yield service


def issue_and_guess(service: RunningService, number: str) -> str:
    """Issue a code for a person of `shop`, try a wrong one, and return the challenge's id."""
    issued = service.issue(number)
    assert 201 == issued.status
    assert 422 == service.verify(issued, "000000").status
    return str(issued.json["id"])


def list_types(service: RunningService, challenge: str) -> list[str]:
    """Return the types of a challenge's events, oldest first."""
    return [event["type"] for event in service.fetch_events(challenge=challenge)][::-1]


CHALLENGE_EVENTS = ["otp.issued", "otp.sent", "otp.attempted", "otp.rejected"]


def test_searches_of_another_tenant_delete_no_event(service: RunningService) -> None:
    """A search for a number is recorded in the partition of its prefix, as are its events."""
    challenge = issue_and_guess(service, "+447400310001")

    for i in range(FLOOD_CALLS):
        number = f"+44740031{i:04d}" if i % 2 else "+447400310001"
        body = {"phone_number": number, "limit": 1}
        answer = service.send_request("POST", "/v1/audit/search", by="bank", body=body)
        assert 200 == answer.status

    assert CHALLENGE_EVENTS == list_types(service, challenge)
    assert service.fetch_events(type="audit.lookup")


def test_repeated_answers_delete_no_event(
    service: RunningService, gateway: GatewayServer, redis: EmbeddedServer
) -> None:
    """A verify that is repeated under its Idempotency-Key is answered again for a minute."""
    challenge = issue_and_guess(service, "+447400320001")
    delete_cooldowns(redis)
    issued = service.issue("+447400320001", by="bank")
    code = gateway.find_code("+447400320001")

    for _ in range(FLOOD_CALLS):
        assert 200 == service.verify(issued, code, by="bank", key="again").status

    assert CHALLENGE_EVENTS == list_types(service, challenge)
    verified = service.fetch_events(challenge=issued.json["id"], type="otp.verified")
    assert 1 == sum("repeated" not in event for event in verified)


def test_unlocks_delete_no_event(service: RunningService) -> None:
    """A key with the scope operator may unlock any number, and its tenant may be another."""
    challenge = issue_and_guess(service, "+447400330001")

    for i in range(FLOOD_CALLS):
        body = {"phone_number": f"+44740033{i:04d}" if i % 2 else "+447400330001"}
        answer = service.send_request("POST", "/v1/numbers/unlock", by="security", body=body)
        assert 204 == answer.status

    assert CHALLENGE_EVENTS == list_types(service, challenge)
