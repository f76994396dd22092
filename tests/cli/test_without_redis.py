"""What commands say while Redis is away, hangs, or refuses them: a cause and what to do."""

import pytest

from tests.store import redis_servers


NUMBER = "+447400123456"

COMMANDS = [
    ("unlock",),
    ("block",),
    ("unblock",),
    ("forget",),
    ("blocked",),
    ("opted-out",),
    ("opted-out", "export"),
    ("locked",),
    ("why",),
    ("providers",),
    ("audit", "tail"),
    ("audit", "search"),
    ("audit", "stats"),
    ("check",),
]

INTERNALS = ("Traceback", "redis.exceptions", "redis.asyncio", "Error 111", "Connect call failed")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_redis_that_is_away_is_told_in_plain_words(run_otp, config, monkeypatch, command):
    """They printed texts of redis-py."""
    port = redis_servers.find_free_port()
    monkeypatch.setenv("OTP_REDIS__URL", f"redis://127.0.0.1:{port}")

    ended = run_otp(*command, "--config", config, stdin=f"{NUMBER}\n")

    assert 1 == ended.exit_code
    assert f"the connection to 127.0.0.1:{port} failed (Connection refused)" in ended.err
    assert not [text for text in INTERNALS if text in ended.err]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_refused_command_is_named(run_otp, config, server, monkeypatch, command):
    """The user of Redis may do nothing: the answer names the permission that it lacks first."""
    with redis_servers.open_client(server) as client:
        client.execute_command("ACL SETUSER", "weak", "reset", "on", ">sesame", "~*", "+ping")
    monkeypatch.setenv("OTP_REDIS__USERNAME", "weak")
    monkeypatch.setenv("OTP_REDIS__PASSWORD", "sesame")

    ended = run_otp(*command, "--config", config, stdin=f"{NUMBER}\n")

    with redis_servers.open_client(server) as client:
        client.acl_deluser("weak")
    assert 1 == ended.exit_code
    assert "NOPERM" in ended.err or "redis.username: may not run" in ended.err
    assert not [text for text in INTERNALS if text in ended.err]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_wrong_password_is_told(run_otp, config, monkeypatch, command):
    monkeypatch.setenv("OTP_REDIS__PASSWORD", "wrong")
    monkeypatch.setenv("OTP_REDIS__USERNAME", "nobody")

    ended = run_otp(*command, "--config", config, stdin=f"{NUMBER}\n")

    assert 1 == ended.exit_code
    assert "WRONGPASS" in ended.err or "redis.password" in ended.err
    assert not [text for text in INTERNALS if text in ended.err]
