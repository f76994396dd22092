"""A12: while Redis fails, nothing is compared and nothing is sent; afterwards the service recovers."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from otp_service.api.ops import NOT_READY_PROBLEM
from otp_service.store.embedded import EmbeddedServer
from tests.installation import make_wrong_code
from tests.processes import GatewayServer, HttpResponse, RunningService, run_service, send_request
from tests.store import redis_servers


pytestmark = pytest.mark.slow

RedisFault = Callable[[EmbeddedServer], AbstractContextManager[None]]


@contextlib.contextmanager
def crash(server: EmbeddedServer) -> Iterator[None]:
    """Kill Redis as a power cut does, and restart it with the same files."""
    redis_servers.kill_server(server)
    yield
    server.stop()
    server.start()


@contextlib.contextmanager
def hang(server: EmbeddedServer) -> Iterator[None]:
    """Suspend Redis: it accepts bytes, and responds after it continues."""
    os.kill(server.pid, signal.SIGSTOP)
    yield
    os.kill(server.pid, signal.SIGCONT)


@contextlib.contextmanager
def fill_memory(server: EmbeddedServer) -> Iterator[None]:
    """R76: noeviction, and no free memory."""
    with redis_servers.open_client(server) as client:
        client.config_set("maxmemory", 1)
        yield
        client.config_set("maxmemory", "256mb")


@contextlib.contextmanager
def make_read_only(server: EmbeddedServer) -> Iterator[None]:
    """Make Redis a replica of a missing master, as after a failed failover."""
    with redis_servers.open_client(server) as client:
        client.replicaof("127.0.0.1", str(redis_servers.find_free_port()))
        yield
        client.replicaof("NO", "ONE")


@contextlib.contextmanager
def remove_replicas(server: EmbeddedServer) -> Iterator[None]:
    """Make Redis refuse writes, because it has no replica."""
    with redis_servers.open_client(server) as client:
        client.config_set("min-replicas-to-write", 1)
        yield
        client.config_set("min-replicas-to-write", 0)


@contextlib.contextmanager
def require_password(server: EmbeddedServer) -> Iterator[None]:
    """Change the password, and close every connection."""
    with redis_servers.open_client(server) as client:
        client.config_set("requirepass", "sesame")
        client.execute_command("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")
        yield
        client.config_set("requirepass", "")


REDIS_FAULTS = [crash, fill_memory, make_read_only, remove_replicas, require_password, hang]


class OutageScenario:
    """A service, its gateway, and the Redis that fails."""

    def __init__(
        self, service: RunningService, gateway: GatewayServer, redis: EmbeddedServer
    ) -> None:
        self.service, self.gateway, self.redis = service, gateway, redis

    def make_calls(self, issued: HttpResponse, code: str, number: str) -> list[HttpResponse]:
        """Make every call that compares, sends or changes something."""
        return [
            *(self.service.issue(number, key=key) for key in ("", f"k{number[1:]}")),
            *(self.service.verify(issued, code, key=key) for key in ("", "v")),
            *(self.service.verify(issued, make_wrong_code(code, i + 1)) for i in range(3)),
            self.service.resend(issued),
            self.service.send_request("DELETE", f"/v1/challenges/{issued.json['id']}"),
            self.service.send_request(
                "POST", "/v1/numbers/unlock", by="security", body={"phone_number": number}
            ),
        ]


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutageScenario]:
    """Run Redis on a fixed port, because it must be found there after a restart."""
    folder: Path = tmp_path_factory.mktemp("faults")
    with (
        redis_servers.start_server(
            folder / "redis", port=redis_servers.find_free_port(), appendfsync="always"
        ) as redis,
        GatewayServer() as gateway,
        run_service(
            folder, redis, [gateway.url], workers=1, REDIS__TIMEOUT_MILLISECONDS="200"
        ) as service,
    ):
        yield OutageScenario(service, gateway, redis)


@pytest.mark.parametrize("fault", REDIS_FAULTS, ids=lambda fault: fault.__name__)
def test_while_redis_fails_every_call_is_refused(
    scenario: OutageScenario, fault: RedisFault, generate_number
) -> None:
    """R77: every call returns 503 with Retry-After; afterwards the earlier code verifies."""
    number = generate_number()
    issued = scenario.service.issue(number)
    code = scenario.gateway.find_code(number)
    messages = len(scenario.gateway.messages)
    hashed = scenario.service.count_samples("otp_argon2_seconds_count")

    with fault(scenario.redis):
        refusals = scenario.make_calls(issued, code, generate_number())
        ready, live = (
            send_request(scenario.service.port, "GET", f"/health/{h}") for h in ("ready", "live")
        )
        status = send_request(scenario.service.admin_port, "GET", "/status")

    assert {(503, "store-unavailable")} == {(r.status, r.problem_type) for r in (*refusals, ready)}
    assert all(int(r.headers["retry-after"]) >= 1 for r in (*refusals, ready))
    assert 200 == live.status == status.status
    assert [NOT_READY_PROBLEM] == status.json["problems"]
    assert messages == len(scenario.gateway.messages)
    assert hashed == scenario.service.count_samples("otp_argon2_seconds_count")
    redis_servers.wait_until(scenario.service.is_ready, description="the recovery")
    assert [] == send_request(scenario.service.admin_port, "GET", "/status").json["problems"]
    assert {"attempts_left": 5, "status": "pending"}.items() <= scenario.service.view(
        issued
    ).json.items()
    assert 200 == scenario.service.verify(issued, code).status
    assert 201 == scenario.service.issue(generate_number()).status


def test_scripts_missing_from_redis_are_loaded_again(
    scenario: OutageScenario, generate_number
) -> None:
    """R77: callers do not see NOSCRIPT."""
    number = generate_number()
    issued = scenario.service.issue(number)
    with redis_servers.open_client(scenario.redis) as client:
        client.script_flush()

    verified = scenario.service.verify(issued, scenario.gateway.find_code(number))

    assert 200 == verified.status


def test_a_redis_that_may_evict_attempts_is_refused(tmp_path: Path) -> None:
    """R76: an evicting Redis with full memory would refund every attempt."""
    evicting = {"maxmemory-policy": "allkeys-lru"}
    with (
        EmbeddedServer(tmp_path / "redis", options=evicting) as redis,
        pytest.raises(RuntimeError, match="noeviction"),
        run_service(tmp_path, redis, ["http://127.0.0.1:9/"], workers=1),
    ):
        pass


def test_a_view_works_while_writes_fail(scenario: OutageScenario, generate_number) -> None:
    """A view compares nothing, and it shows its caller the status."""
    number = generate_number()
    issued = scenario.service.issue(number)

    with fill_memory(scenario.redis):
        view = scenario.service.view(issued)

    assert (200, "pending") == (view.status, view.json["status"])
