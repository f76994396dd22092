"""`serve` in this process: what it refuses to start with, and what it advises."""

import json
import socket

import pytest

from otp_service import __version__
from otp_service.cli import serve
from otp_service.cli.command import CommandError
from otp_service.cli.common import read_safe_settings
from otp_service.cli.slot_listeners import SlotListeners
from otp_service.store.mode_mark import MODE_KEY
from tests.store import redis_servers


@pytest.fixture
def used_port():
    """A port on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


@pytest.mark.parametrize("setting", ["port", "admin_port"])
def test_a_port_in_use_is_reported_with_settings_that_exist(
    run_otp, config, used_port, monkeypatch, setting
):
    """`serve` has no --port: the advice names settings and variables."""
    for name in ("port", "admin_port"):
        port = used_port if name == setting else redis_servers.find_free_port()
        monkeypatch.setenv(f"OTP_SERVICE__{name.upper()}", str(port))

    result = run_otp("serve", "--config", config)

    assert 1 == result.exit_code
    assert f"cannot listen on 127.0.0.1:{used_port}: Address already in use" in result.err
    assert "service.port" in result.err
    assert "OTP_SERVICE__PORT" in result.err
    assert "--" not in result.err


def test_the_first_lines_say_what_runs_where_and_what_is_ignored(run_otp, config, monkeypatch):
    """An operator with the log alone sees version, addresses, mode and the file."""

    async def return_at_once(_):
        """Supervise nothing."""

    monkeypatch.setattr(serve.Supervisor, "run", return_at_once)
    monkeypatch.setenv("OTP_VERSION", "27.1")
    ports = [redis_servers.find_free_port() for _ in range(2)]
    monkeypatch.setenv("OTP_SERVICE__PORT", str(ports[0]))
    monkeypatch.setenv("OTP_SERVICE__ADMIN_PORT", str(ports[1]))

    lines = [json.loads(line) for line in run_otp("serve", "--config", config).out.splitlines()]

    (start,) = [line for line in lines if line["event"] == "starting"]
    assert (
        start.items()
        >= {
            "version": __version__,
            "address": f"127.0.0.1:{ports[0]}",
            "admin_address": f"127.0.0.1:{ports[1]}",
            "configuration_file": str(config),
            "mode": "live",
        }.items()
    )
    assert any("environment: has OTP_VERSION: ignored" in line["event"] for line in lines)


def test_a_second_service_cannot_share_the_address():
    """With SO_REUSEPORT alone it would take half of the connections of the first."""
    first = SlotListeners("127.0.0.1", 0, 2)
    for slot in range(2):
        first[slot].listen()
    port = first[0].getsockname()[1]

    with pytest.raises(Exception, match="Address already in use"):
        SlotListeners("127.0.0.1", port, 2)
    first.close()


def test_connections_are_spread_over_the_slots():
    """On one shared socket a single worker accepted 29 of 32 connections opened at once."""
    listeners = SlotListeners("127.0.0.1", 0, 2)
    for slot in range(2):
        listeners[slot].listen()
    clients = [socket.create_connection(listeners[0].getsockname()) for _ in range(64)]
    accepted = []
    for slot in range(2):
        while True:
            try:
                accepted.append((slot, listeners[slot].accept()[0]))
            except BlockingIOError:
                break
    counts = [sum(slot == place for place, _ in accepted) for slot in range(2)]
    for sock in [*clients, *(sock for _, sock in accepted)]:
        sock.close()
    listeners.close()

    assert 64 == sum(counts)
    assert min(counts) > 10


def test_the_queue_of_a_dead_worker_is_abandoned():
    """Its connections are reset, and new ones go to the worker that lives."""
    listeners = SlotListeners("127.0.0.1", 0, 2)
    for slot in range(2):
        listeners[slot].listen()
    address = listeners[0].getsockname()
    listeners.abandon_queue(0)

    clients = [socket.create_connection(address) for _ in range(16)]
    accepted = [listeners[1].accept()[0] for _ in clients]

    for sock in [*clients, *accepted]:
        sock.close()
    listeners.close()
    assert 16 == len(accepted)


def test_what_check_refuses_and_the_service_can_run_with_is_logged(config, caplog):
    """R55: one expired key of one tenant must not stop the logins of all others."""
    config.write_text(
        config.read_text().replace(
            'scopes = ["challenges"]', 'scopes = ["challenges"], expires = 2026-01-01T00:00:00Z'
        )
    )
    config.chmod(0o644)

    serve.log_tolerated_issues(config, read_safe_settings(config))

    assert "tenants.shop.keys: needs an unexpired key" in caplog.text
    assert f"{config}: can be read by others" in caplog.text


@pytest.mark.parametrize(("mark", "is_refused"), [("test", True), ("live", False), (None, False)])
def test_a_reload_with_a_redis_of_another_mode_is_refused(config, server, mark, is_refused):
    """A25: the start alone would be a check that SIGHUP evades. Seen to fail without the check."""
    settings = read_safe_settings(config)
    if mark:
        with redis_servers.open_client(server) as client:
            client.set(MODE_KEY, mark)

    if is_refused:
        with pytest.raises(CommandError, match="is the Redis of a service in mode 'test'"):
            serve.require_redis_of_mode(settings)
    else:
        serve.require_redis_of_mode(settings)


def test_a_reload_does_not_wait_for_a_redis_that_is_away(config, monkeypatch):
    """The keys of a stolen configuration are replaced also then."""
    monkeypatch.setenv("OTP_REDIS__URL", f"redis://127.0.0.1:{redis_servers.find_free_port()}/0")

    serve.require_redis_of_mode(read_safe_settings(config))
