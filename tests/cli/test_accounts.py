"""`accounts unlock`, on a real Redis."""

import getpass
import json
import os
from unittest.mock import Mock

import pytest

from otp_service.cli import common
from tests.store import redis_servers


def test_accounts_are_unlocked_and_repeating_it_is_harmless(run_otp, config):
    """The lines are named by their number: an account may be a person's name."""
    for _ in range(2):
        ended = run_otp(
            "accounts", "unlock", "--tenant", "shop", "--config", config, stdin="u-1\nu 2\n"
        )

        assert (0, "") == (ended.exit_code, ended.err)
        assert "line 1: is unlocked at shop\nline 2: is unlocked at shop\n" == ended.out


def test_the_event_of_an_unlock_names_the_user_of_the_machine(run_otp, config):
    """R72: a change of an operator is audited; the key id `cli` is that of every operator."""
    run_otp("accounts", "unlock", "--tenant", "shop", "--config", config, stdin="u-1\n")

    found = run_otp("audit", "search", "--type", "otp.unlocked", "--json", "--config", config)

    (event,) = [json.loads(line) for line in found.out.splitlines()]
    assert ("cli", "shop", getpass.getuser()) == (event["key_id"], event["tenant"], event["by"])


@pytest.mark.parametrize("error", [KeyError("uid not found"), OSError("no username set")])
def test_a_user_without_a_name_is_recorded_by_its_id(monkeypatch, error):
    """A container may run under an id that its system has no name for; unlocking must work."""
    monkeypatch.setattr(getpass, "getuser", Mock(side_effect=error))

    assert f"uid {os.getuid()}" == common.find_machine_user()


@pytest.mark.parametrize("text", [b"a" * 129, b"a\x00b"])
def test_an_invalid_account_is_reported_and_the_others_are_done(run_otp, config, text):
    """It would be counted under another name than the one that the API accepts."""
    ended = run_otp(
        "accounts", "unlock", "--tenant", "shop", "--config", config, stdin=text + b"\nu-2\n"
    )

    assert 1 == ended.exit_code
    assert "line 1: the account is invalid" in ended.err
    assert "line 2: is unlocked at shop\n" == ended.out


def test_an_unknown_tenant_is_refused_with_those_that_exist(run_otp, config):
    """A misspelled tenant has no locked accounts, so success would mislead."""
    ended = run_otp("accounts", "unlock", "--tenant", "shpo", "--config", config, stdin="u-1\n")

    assert 1 == ended.exit_code
    assert "no tenant is called 'shpo': the settings have shop." in ended.err


def test_accounts_are_read_from_standard_input_only(run_otp, config):
    """Arguments would be visible in the shell's history and the list of processes."""
    assert (
        2 == run_otp("accounts", "unlock", "--tenant", "shop", "u-1", "--config", config).exit_code
    )

    ended = run_otp("accounts", "unlock", "--tenant", "shop", "--config", config)

    assert 1 == ended.exit_code
    assert "no account was given" in ended.err


def test_an_unavailable_redis_ends_with_the_line_to_continue_at(run_otp, config, monkeypatch):
    """Nothing is reported as unlocked."""
    monkeypatch.setenv("OTP_REDIS__URL", f"redis://127.0.0.1:{redis_servers.find_free_port()}")

    ended = run_otp(
        "accounts", "unlock", "--tenant", "shop", "--config", config, stdin="u-1\nu-2\n"
    )

    assert (1, "") == (ended.exit_code, ended.out)
    assert "Stopped at line 1; repeat it and the lines after it." in ended.err
