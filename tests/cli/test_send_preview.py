"""`otp-service why`, on a real Redis."""

import getpass
import json
import re

import pytest

from otp_service.cli.send_preview_report import format_duration
from tests.store import redis_servers


ONE, OTHER = "+447400123456", "+447400123457"
MASKED = "+44********56"
INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture
def run_why(run_otp, config):
    """Run the command with the configuration."""
    return lambda *words, stdin="": run_otp("why", "--config", config, *words, stdin=stdin)


def test_a_number_without_a_history_is_admitted_by_each_tenant(run_why):
    """The exit code is 0, and what was not looked at is named."""
    ended = run_why("-", stdin=ONE)

    assert (0, "") == (ended.exit_code, ended.err)
    assert ended.out == (
        f"{MASKED}  at shop: admitted\n"
        "  Without account and client_ip in its line, their limits were not looked at.\n"
    )


def test_a_tenant_that_cannot_send_is_left_out_unless_it_is_named(run_why, add_audit_tenant):
    """The security team that `init` writes would make each number refused."""
    add_audit_tenant()

    everywhere = run_why("-", stdin=ONE)
    named = run_why("--tenant", "security", "-", stdin=ONE)

    assert (0, False) == (everywhere.exit_code, "security" in everywhere.out)
    assert (1, True) == (named.exit_code, "at security: refused" in named.out)


def test_a_locked_number_is_refused_until_an_operator_unlocks_it(
    run_why, run_otp, config, lock_number
):
    """The limit has its own line with what is used of it."""
    lock_number(ONE)

    ended = run_why("-", stdin=ONE)

    assert 1 == ended.exit_code
    heading, limit, _ = ended.out.splitlines()
    assert heading == f"{MASKED}  at shop: refused until an operator unlocks it"
    assert re.fullmatch(
        r"  ConsecutiveFailuresPerNumber +100 of 100 in 90 d +refuses until an operator unlocks it",
        limit,
    )
    run_otp("unlock", "--config", config, stdin=ONE)
    assert 0 == run_why("-", stdin=ONE).exit_code


def test_a_limit_that_refuses_has_its_end_and_those_near_their_quota_follow(run_why, charge_sends):
    """Five sends in ten minutes: the cooldown, and the limit of the number at this tenant."""
    charge_sends(ONE, 5)

    ended = run_why("-", stdin=ONE)

    assert 1 == ended.exit_code
    heading, *limits, _ = ended.out.splitlines()
    assert re.fullmatch(
        re.escape(MASKED) + rf"  at shop: refused until {INSTANT} \((9 min 5\d s|10 min)\)", heading
    )
    rows = [re.split(" {2,}", line.strip()) for line in limits]
    assert [row[:2] for row in rows] == [
        ["CooldownPerNumber", "5 of 1 in 30 s"],
        ["SendsPerNumberAndTenant", "5 of 5 in 10 min, 5 of 10 in 1 d"],
    ]
    assert all(re.match(rf"refuses until {INSTANT} \(", row[2]) for row in rows)

    charge_sends(OTHER, 4)
    near = run_why("-", stdin=OTHER).out.splitlines()[2]
    assert re.fullmatch(
        r"  SendsPerNumberAndTenant +4 of 5 in 10 min, 4 of 10 in 1 d +admits it", near
    )


def test_json_has_every_limit_and_what_a_caller_is_told(run_why, charge_sends):
    """Account and address have limits of their own, and neither is repeated."""
    charge_sends(ONE, 1)
    line = {"phone_number": ONE, "account": "u-81", "client_ip": "203.0.113.9"}

    ended = run_why("--json", "--tenant", "shop", "-", stdin=json.dumps(line))

    assert 1 == ended.exit_code
    assert not any(text in ended.out for text in (ONE, "u-81", "203.0.113.9"))
    shown = json.loads(ended.out)
    assert {
        "line": 1,
        "number": MASKED,
        "country": "GB",
        "tenant": "shop",
        "admitted": False,
        "reason": "rate_limited",
        "limit": "CooldownPerNumber",
        "opt_outs": [],
        "not_given": [],
    }.items() <= shown.items()
    assert 0 < shown["retry_after"] <= 30
    limits = {limit["limit"]: limit for limit in shown["limits"]}
    assert {"SendsPerAccount", "SendsPerClientAddress", "SendsOverall"} <= limits.keys()
    assert limits["CooldownPerNumber"]["admits_from"] == shown["admitted_from"]
    windows = limits["SendsPerNumberAndTenant"]["windows"]
    assert windows[0] == {"used": 1, "quota": 5, "period_seconds": 600}


def test_a_blocked_number_is_refused_with_the_remedy(run_why, run_otp, config):
    """No time ends a block."""
    run_otp("block", "--config", config, stdin=ONE)

    ended = run_why("-", stdin=ONE)

    assert 1 == ended.exit_code
    assert "refused, an operator has blocked it for all tenants: 'otp-service unblock'" in ended.out


def test_an_opted_out_number_is_refused_with_who_it_is_for(run_why, run_otp, config):
    """The tenant, the time and the provider are in a line of their own."""
    stdin = json.dumps({"phone_number": ONE, "tenant": "shop", "provider": "p1"})
    run_otp("opted-out", "import", "--config", config, stdin=stdin)

    ended = run_why("-", stdin=ONE)

    assert 1 == ended.exit_code
    heading, opt_out, _ = ended.out.splitlines()
    assert "refused, its person has answered STOP" in heading
    assert re.fullmatch(rf"  opted out for tenant shop since {INSTANT} through p1", opt_out)


@pytest.mark.parametrize(
    ("number", "reason"),
    [("+442079460958", "receives no SMS"), ("+33612345678", "may not send to its country")],
)
def test_a_number_that_no_limit_matters_for_is_refused(run_why, number, reason):
    """A landline, and a country that the tenant lacks: it is refused, and no bad input."""
    ended = run_why("-", stdin=number)

    assert (1, "") == (ended.exit_code, ended.err)
    assert reason in ended.out


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("07400 999888", "the number is invalid"),
        ('{"phone_number": "+447400123456", "client_ip": "999888"}', "client_ip must be"),
        (json.dumps({"phone_number": ONE, "account": "999888" * 30}), "the account is invalid"),
        ('{"phone_number": "+447400123456", "pin": "999888"}', "has an unknown member"),
        ('{"account": "999888"}', "phone_number is missing"),
        ("{999888", "is not valid JSON"),
    ],
)
def test_an_invalid_line_is_bad_input_and_the_others_are_done(run_why, line, problem):
    """It is named by its number, and its values are not repeated."""
    ended = run_why("-", stdin=f"{line}\n{ONE}")

    assert 2 == ended.exit_code
    assert "line 1: " in ended.err
    assert problem in ended.err
    assert "999888" not in ended.err
    assert f"{MASKED}  at shop: admitted" in ended.out


def test_wrong_arguments_and_an_empty_input_are_bad_input(run_why):
    """Numbers are read from standard input alone."""
    assert 2 == run_why(ONE).exit_code
    assert 2 == run_why("-", stdin="\n").exit_code
    ended = run_why("--tenant", "nobody", "-", stdin=ONE)
    assert 2 == ended.exit_code
    assert "The tenants are shop." in ended.err


def test_each_person_is_recorded_as_a_lookup_and_nothing_else_is_written(
    run_why, charge_sends, read_events, server
):
    """The security team sees who asked, as for a search; buckets keep their bytes."""
    charge_sends(ONE, 1)
    with redis_servers.open_client(server) as client:
        before = {key: client.dump(key) for key in client.keys("*:limit:*")}

    run_why("-", stdin=ONE)

    (event,) = [event for event in read_events(ONE) if event["type"] == "audit.lookup"]
    assert {
        "key_id": "cli",
        "by": getpass.getuser(),
        "reason": "limits",
        "number_suffix": "56",
    }.items() <= event.items()
    with redis_servers.open_client(server) as client:
        assert before == {key: client.dump(key) for key in client.keys("*:limit:*")}


def test_nothing_is_shown_that_could_not_be_recorded(run_why, monkeypatch):
    """Without Redis there is no answer, which exit code 1 says as for every command."""
    monkeypatch.setenv("OTP_REDIS__URL", f"redis://127.0.0.1:{redis_servers.find_free_port()}")

    ended = run_why("-", stdin=ONE)

    assert (1, "") == (ended.exit_code, ended.out)
    assert "Redis does not answer" in ended.err


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 s"),
        (1, "1 s"),
        (59_001, "1 min"),
        (570_000, "9 min 30 s"),
        (3_600_000, "1 h"),
        (3_601_000, "1 h"),
        (3_660_000, "1 h 1 min"),
        (90_000_000, "1 d 1 h"),
    ],
)
def test_a_duration_is_in_its_two_largest_units(milliseconds, text):
    """Seconds are rounded up, so that waiting this long is enough."""
    assert text == format_duration(milliseconds)
