"""`unlock`, `block`, `unblock`, `forget` and `locked`, on a real Redis."""

import getpass
import re

import pytest

from tests.store import redis_servers


ONE, OTHER = "+447400123456", "+447400123457"
MASKED = "+44********56"
BLOCKED_LINE = re.compile(re.escape(MASKED) + r" +since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n")


def test_locked_lists_locked_numbers(run_otp, config, lock_number):
    """They are masked, with tenant, failures and the time of the last one."""
    assert "No number is locked.\n" == run_otp("locked", "--config", config).out
    lock_number(ONE)

    ended = run_otp("locked", "--config", config)

    assert (0, "") == (ended.exit_code, ended.err)
    assert re.fullmatch(
        re.escape(MASKED) + r" +shop +100 failures, \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n", ended.out
    )


def test_unlock_unlocks_numbers_and_appends_events(run_otp, config, lock_number, read_events):
    """The events have the key id `cli` and the id of this run."""
    lock_number(ONE)
    lock_number(OTHER)

    ended = run_otp("unlock", "--config", config, stdin=f"{ONE}\n\n  {OTHER}\r\n")

    assert (0, "") == (ended.exit_code, ended.err)
    assert f"{MASKED}  is unlocked at all tenants" == ended.out.splitlines()[0]
    assert "No number is locked.\n" == run_otp("locked", "--config", config).out
    (event,) = [event for event in read_events(ONE) if event["number_suffix"] == "56"]
    assert ("otp.unlocked", "cli", "56") == (event["type"], event["key_id"], event["number_suffix"])
    assert getpass.getuser() == event["by"]
    assert "tenant" not in event


def test_an_invalid_line_is_reported_by_its_number_and_the_others_are_done(
    run_otp, config, lock_number
):
    """The message does not repeat the line, which may contain a real number."""
    lock_number(OTHER)

    ended = run_otp("unlock", "--config", config, stdin=f"07400 999888\n+442079460958\n{OTHER}\n")

    assert 1 == ended.exit_code
    assert "line 1: the number is invalid: write it in strict E.164 form" in ended.err
    assert (
        "line 2: no code can be sent to it: the number is of a type that takes no SMS." in ended.err
    )
    assert "2 of 3 lines failed; the others are done." in ended.err
    assert "999888" not in ended.err
    assert "is unlocked" in ended.out


def test_numbers_are_read_from_standard_input_only(run_otp, config):
    """Arguments would be visible in the shell's history and the list of processes."""
    assert 2 == run_otp("unlock", "--config", config, ONE).exit_code

    ended = run_otp("unlock", "--config", config)

    assert 1 == ended.exit_code
    assert "no number was given" in ended.err


@pytest.mark.parametrize("stdin", [b"\xff\xfe\n", b"\x00" * 100, b"+4474001234560000000000\n"])
def test_bytes_that_are_not_text_are_an_invalid_number(run_otp, config, stdin):
    """It is reported like any other line."""
    ended = run_otp("unlock", "--config", config, stdin=stdin)

    assert 1 == ended.exit_code
    assert "line 1: the number is invalid" in ended.err


def test_block_and_unblock_change_the_list_and_append_events(run_otp, config, read_events):
    """Repeating a command is harmless."""
    assert "No number is blocked.\n" == run_otp("blocked", "--config", config).out

    blocked = [run_otp("block", "--config", config, stdin=ONE) for _ in range(2)]
    listed = run_otp("blocked", "--config", config)
    unblocked = run_otp("unblock", "--config", config, stdin=ONE)

    assert [f"{MASKED}  is on the do-not-send list\n"] * 2 == [ended.out for ended in blocked]
    assert BLOCKED_LINE.fullmatch(listed.out)
    assert f"{MASKED}  is not on the do-not-send list\n" == unblocked.out
    assert "No number is blocked.\n" == run_otp("blocked", "--config", config).out
    changes = [(event["reason"], event["by"]) for event in read_events(ONE)]
    assert [
        (reason, getpass.getuser()) for reason in ("blocked", "blocked", "unblocked")
    ] == changes


def test_forget_deletes_everything_but_the_do_not_send_list(
    run_otp, config, lock_number, read_events
):
    """A person may have asked for no more messages."""
    lock_number(ONE)
    run_otp("block", "--config", config, stdin=ONE)

    ended = run_otp("forget", "--config", config, stdin=ONE)

    assert f"{MASKED}  is forgotten: 0 challenges, 1 limits\n" == ended.out
    assert BLOCKED_LINE.fullmatch(run_otp("blocked", "--config", config).out)
    assert "No number is locked.\n" == run_otp("locked", "--config", config).out
    forgotten = read_events(ONE)[-1]
    assert ("otp.forgotten", getpass.getuser()) == (forgotten["type"], forgotten["by"])


def test_the_do_not_send_list_outlives_the_keys(run_otp, config):
    """Its entries depend on the `limit` key alone, because they never expire."""
    run_otp("block", "--config", config, stdin=ONE)
    text = re.sub(r'(?m)^seal = .*"(.*)" }]$', "", config.read_text())
    fresh = re.search(r"{ id.*}", run_otp("key", "new", "--secret", "seal").out)[0]
    config.write_text(text.replace("[keys]", f"[keys]\nseal = [{fresh}]"))

    ended = run_otp("blocked", "--config", config)

    assert 0 == ended.exit_code
    assert "+44" in ended.out


@pytest.mark.parametrize("command", ["unlock", "block", "unblock", "forget", "locked"])
def test_an_unavailable_redis_ends_in_a_sentence_with_the_line_to_continue_at(
    run_otp, config, monkeypatch, command
):
    """The message names the first line to repeat."""
    monkeypatch.setenv("OTP_REDIS__URL", f"redis://127.0.0.1:{redis_servers.find_free_port()}")

    ended = run_otp(command, "--config", config, stdin=f"{ONE}\n{OTHER}\n")

    assert (1, "") == (ended.exit_code, ended.out)
    assert "otp-service: Redis does not answer as it should: " in ended.err
    assert "'otp-service check' says more." in ended.err
    assert command == "locked" or "Stopped at line 1" in ended.err


def test_an_unsafe_configuration_is_refused(run_otp, config, monkeypatch):
    """Its keys might differ from those in use."""
    monkeypatch.setenv("OTP_POLICY__LIFETIME", "900")

    ended = run_otp("unlock", "--config", config, stdin=ONE)

    assert 1 == ended.exit_code
    assert "policy.lifetime" in ended.err
