"""deploy/redis.conf and deploy/redis.acl.example: the service can work, and do nothing else."""

import hashlib
from pathlib import Path

import pytest
import redis

from otp_service.store.embedded import EmbeddedServer


DEPLOY = Path(__file__).parents[2] / "deploy"
PASSWORD = "sesame"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with deploy/redis.conf and an ACL file from the steps of compose.yaml."""
    folder = tmp_path_factory.mktemp("deploy")
    acl = folder / "redis_acl"
    digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
    example = (DEPLOY / "redis.acl.example").read_text()
    acl.write_text(example.replace("SHA-256-OF-THE-PASSWORD", digest))
    lines = (DEPLOY / "redis.conf").read_text().splitlines()
    options = dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    del options["bind"]  # the container's network; ours is a socket
    options["aclfile"] = f'"{acl}"'
    with EmbeddedServer(folder / "data", options=options) as server:
        yield server


@pytest.fixture
def client(server):
    """A client as the service's user."""
    with redis.Redis.from_url(server.url, username="otp", password=PASSWORD) as client:
        yield client


def test_redis_refuses_a_client_without_a_password(server):
    """The default user is off."""
    with (
        redis.Redis.from_url(server.url) as anonymous,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        anonymous.ping()


def test_the_service_can_do_its_work(client):
    """It can run scripts on its keys, TIME, WAIT, and INFO for the check at start."""
    script = (
        "redis.call('TIME'); redis.call('INFO', 'replication');"
        " redis.call('XADD', KEYS[2], '*', 'a', 1); return redis.call('SET', KEYS[1], 1)"
    )

    assert client.eval(script, 2, "{07}:challenge:x", "{07}:log")
    assert 0 == client.wait(0, 1)
    assert "noeviction" == client.info("memory")["maxmemory_policy"]
    assert 1 == client.info("persistence")["aof_enabled"]


@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL", "KEYS *", "CONFIG GET *", "SHUTDOWN", "MONITOR", "ACL LIST",
        "SLOWLOG GET", "CLIENT LIST", "REPLICAOF NO ONE", "SCRIPT FLUSH", "MODULE LIST",
        "SUBSCRIBE news", "FUNCTION FLUSH", "SAVE", "BGREWRITEAOF", "SWAPDB 0 1",
    ],
)  # fmt: skip
def test_the_service_can_do_nothing_that_it_does_not_need(client, command):
    """A stolen password does not allow wiping, monitoring or reconfiguring."""
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command.split())


def test_other_keys_are_out_of_reach(client):
    """Data of another application on the same Redis is inaccessible."""
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.get("session:1")
