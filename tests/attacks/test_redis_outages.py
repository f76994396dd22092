"""A12: while Redis is in doubt nothing is compared and nothing is sent; afterwards all is well."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from otp_service.store.embedded import EmbeddedServer
from tests.installation import make_wrong_code
from tests.processes import GatewayServer, HttpResponse, RunningService, run_service, send_request
from tests.store import redis_servers


pytestmark = pytest.mark.slow

Fault = Callable[[EmbeddedServer], AbstractContextManager[None]]


@contextlib.contextmanager
def away(server: EmbeddedServer) -> Iterator[None]:
    """As after a power cut; it comes back over the same files."""
    redis_servers.kill_server(server)
    yield
    server.stop()
    server.start()


@contextlib.contextmanager
def silent(server: EmbeddedServer) -> Iterator[None]:
    """The machine hangs: it takes what is sent, and says nothing until it goes on with that."""
    os.kill(server.pid, signal.SIGSTOP)
    yield
    os.kill(server.pid, signal.SIGCONT)


@contextlib.contextmanager
def full(server: EmbeddedServer) -> Iterator[None]:
    """R76: noeviction, and no memory left."""
    with redis_servers.open_client(server) as client:
        client.config_set("maxmemory", 1)
        yield
        client.config_set("maxmemory", "256mb")


@contextlib.contextmanager
def read_only(server: EmbeddedServer) -> Iterator[None]:
    """A replica of nobody who is there: after a failover that went wrong."""
    with redis_servers.open_client(server) as client:
        client.replicaof("127.0.0.1", str(redis_servers.find_free_port()))
        yield
        client.replicaof("NO", "ONE")


@contextlib.contextmanager
def short_of_replicas(server: EmbeddedServer) -> Iterator[None]:
    """It refuses writes itself as long as nobody copies them."""
    with redis_servers.open_client(server) as client:
        client.config_set("min-replicas-to-write", 1)
        yield
        client.config_set("min-replicas-to-write", 0)


@contextlib.contextmanager
def asking_for_a_password(server: EmbeddedServer) -> Iterator[None]:
    """Somebody has changed it; every connection was cut."""
    with redis_servers.open_client(server) as client:
        client.config_set("requirepass", "sesame")
        client.execute_command("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")
        yield
        client.config_set("requirepass", "")


FAULT_TABLE = [away, full, read_only, short_of_replicas, asking_for_a_password, silent]


class Scene:
    """A service, its gateway, and the Redis that is hurt."""

    def __init__(
        self, service: RunningService, gateway: GatewayServer, redis: EmbeddedServer
    ) -> None:
        self.service, self.gateway, self.redis = service, gateway, redis

    def calls(self, issued: HttpResponse, code: str, number: str) -> list[HttpResponse]:
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
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Redis on a port, for it has to be found again where it was."""
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
        yield Scene(service, gateway, redis)


@pytest.mark.parametrize("fault", FAULT_TABLE, ids=lambda fault: fault.__name__)
def test_while_redis_is_in_doubt_nothing_is_done(
    scene: Scene, fault: Fault, generate_number
) -> None:
    """R77: every call is 503 with Retry-After; then the code that was there works."""
    number = generate_number()
    issued = scene.service.issue(number)
    code = scene.gateway.find_code(number)
    messages = len(scene.gateway.messages)
    hashed = scene.service.count_samples("otp_argon2_seconds_count")

    with fault(scene.redis):
        refusals = scene.calls(issued, code, generate_number())
        ready, live = (
            send_request(scene.service.port, "GET", f"/health/{h}") for h in ("ready", "live")
        )

    assert {(503, "store-unavailable")} == {(r.status, r.problem_type) for r in (*refusals, ready)}
    assert all(int(r.headers["retry-after"]) >= 1 for r in (*refusals, ready))
    assert 200 == live.status
    assert messages == len(scene.gateway.messages)
    assert hashed == scene.service.count_samples("otp_argon2_seconds_count")
    redis_servers.wait_until(scene.service.is_ready, description="the recovery")
    assert {"attempts_left": 5, "status": "pending"}.items() <= scene.service.view(
        issued
    ).json.items()
    assert 200 == scene.service.verify(issued, code).status
    assert 201 == scene.service.issue(generate_number()).status


def test_scripts_that_redis_has_forgotten_are_given_to_it_again(
    scene: Scene, generate_number
) -> None:
    """R77: NOSCRIPT is no fault that a caller should see."""
    number = generate_number()
    issued = scene.service.issue(number)
    with redis_servers.open_client(scene.redis) as client:
        client.script_flush()

    verified = scene.service.verify(issued, scene.gateway.find_code(number))

    assert 200 == verified.status


def test_a_redis_that_may_forget_attempts_is_refused(tmp_path: Path) -> None:
    """R76: with an evicting Redis, full memory would give every attempt back."""
    evicting = {"maxmemory-policy": "allkeys-lru"}
    with (
        EmbeddedServer(tmp_path / "redis", options=evicting) as redis,
        pytest.raises(RuntimeError, match="noeviction"),
        run_service(tmp_path, redis, ["http://127.0.0.1:9/"], workers=1),
    ):
        pass


def test_reading_still_works_where_only_writing_does_not(scene: Scene, generate_number) -> None:
    """A view compares nothing; its caller sees how things stand."""
    number = generate_number()
    issued = scene.service.issue(number)

    with full(scene.redis):
        view = scene.service.view(issued)

    assert (200, "pending") == (view.status, view.json["status"])
