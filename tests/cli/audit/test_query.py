"""`audit search`, `show` and `stats`, on a real Redis and an archive."""

import asyncio
import json
import re
from typing import Any

import pytest

from otp_service.app import Application
from otp_service.cli.common import read_settings
from otp_service.core.phone_number import parse_number
from otp_service.schemas import IssueRequest
from otp_service.service import Caller
from tests.audit import archive_builder
from tests.audit.reports.test_timeline import EVIL
from tests.store import redis_servers


NUMBER, OTHER = "+447400123456", "+447400123457"
OLD = "c07-" + "0" * 32
OLD_TYPES = ("otp.verified", "otp.attempted", "otp.sent", "otp.issued")


@pytest.fixture
def archive(tmp_path, config) -> archive_builder.ArchiveBuilder:
    """Segments of other days; their MACs are of a key that was removed."""
    keys = read_settings(config).keys.pseudonym
    number = keys.current.derive_pseudonym("number", parse_number(NUMBER).canonical)
    archive = archive_builder.ArchiveBuilder(tmp_path / "archive")
    about: dict[str, Any] = {
        "challenge": OLD,
        "purpose": "login",
        "number": number,
        "country": "GB",
        "number_suffix": "56",
    }
    archive.add_event(7, **about, client_ip="203.0.113.9")
    archive.add_event(7, type="otp.sent", provider="east", milliseconds=12, **about)
    archive.add_event(7, type="otp.attempted", attempts_left=4, **about)
    archive.add_event(7, type="otp.verified", **about)
    archive.add_event(8, type="otp.rejected", tenant="bank")
    archive.append_seal()
    return archive


@pytest.fixture
def issued(config):
    """Issue a challenge to a number at the tenant `shop`, and return its id."""

    async def issue(number: str, account: str | None) -> str:
        async with Application(read_settings(config)) as app:
            caller = Caller(app.settings.build_tenants()["shop"], "web", "request-1")
            stored = await app.service.issue(caller, IssueRequest(number, account=account), None)
            assert stored.challenge
            return stored.challenge.id

    return lambda number, account=None: asyncio.run(issue(number, account))


@pytest.fixture
def search(run_otp, config, archive):
    """Search Redis and the archive, and return the JSON output."""

    def run(*arguments: str, **more: str) -> list[dict]:
        ended = run_otp(
            "audit", "search", "--config", config, "--archive", archive.folder, "--json",
            *arguments, **more,
        )  # fmt: skip
        assert 0 == ended.exit_code
        assert ended.err == "" or "bank" in arguments
        return [json.loads(line) for line in ended.out.splitlines()]

    return run


def test_redis_and_the_archive_are_searched_together(search, issued):
    """Newest first, each event once."""
    issued(NUMBER)

    beside = {"log.epoch", "service.changed"}
    found = [event for event in search() if event["type"] not in beside]

    types = ["otp.sent", "otp.issued", "otp.rejected", *OLD_TYPES]
    assert types == [event["type"] for event in found]
    assert {"ok"} == {event["integrity"] for event in found}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--type", "otp.rejected"), [(8, 1)]),
        (("--tenant", "bank"), [(8, 1)]),
        (("--challenge", OLD), [(7, 4), (7, 3), (7, 2), (7, 1)]),
        (("--client-ip", "203.0.113.9"), [(7, 1)]),
        (("--type", "otp.sent,otp.rejected"), [(8, 1), (7, 2)]),
        (("--provider", "east"), [(7, 2)]),
        (("--country", "GB", "--type", "otp.issued"), [(7, 1)]),
        (("--client-ip-changed",), []),
        (("--pseudonym", "p1:unknown"), []),
        (("--until", "2025-11-24T10:00:03Z"), [(7, 2), (7, 1)]),
        (("--since", "2025-11-24T10:00:04+00:00", "--tenant", "shop"), [(7, 4)]),
        (("--since", "1h", "--tenant", "bank"), []),
    ],
)
def test_every_filter_narrows_the_search(search, arguments, expected):
    """An event has to match all of them."""
    assert expected == [(event["partition"], event["sequence"]) for event in search(*arguments)]


def test_looking_for_a_number_is_an_event_that_says_who_and_why(search, issued, read_events):
    """And the next search finds it."""
    issued(NUMBER)
    issued(OTHER)

    first = search("--number", "-", "--reason", "INC-4711\x1b[2J", stdin=f"{NUMBER}\n")
    second = search("--number", "-", stdin=NUMBER)

    assert ["otp.sent", "otp.issued", *OLD_TYPES] == [event["type"] for event in first]
    assert "audit.lookup" == second[0]["type"]
    told_first, told_second = read_events(NUMBER)[-2:]
    assert ("audit.lookup", "cli", 6, "INC-4711\\x1b[2J") == tuple(
        told_first[name] for name in ("type", "key_id", "found", "reason")
    )
    assert told_first["by"]
    assert (7, None) == (told_second["found"], told_second.get("reason"))
    assert NUMBER[1:] not in json.dumps(told_first)


def test_a_number_among_the_arguments_is_refused_and_not_repeated(run_otp, config):
    """It would be stored in the shell's history; seen to fail with a plain `choices`."""
    ended = run_otp("audit", "search", "--config", config, "--number", NUMBER)

    assert 2 == ended.exit_code
    assert "numbers and accounts are read from standard input only" in ended.err
    assert NUMBER[1:] not in ended.err + ended.out


@pytest.mark.parametrize("reason", [NUMBER, "call 07400 123 456 back", "(0)7400-123456"])
def test_a_reason_that_holds_a_number_is_refused(run_otp, config, read_events, reason):
    """R68: the log must not contain a number."""
    ended = run_otp(
        "audit", "search", "--config", config, "--number", "-", "--reason", reason, stdin=NUMBER
    )

    assert 1 == ended.exit_code
    assert "the reason may contain a number" in ended.err
    assert [] == read_events(NUMBER)


def test_looking_for_an_account_is_an_event_that_says_who_and_why(search, issued, config):
    """R69: with its pseudonym alone; and the next search finds it."""
    issued(NUMBER, "u-81")
    issued(OTHER, "u-8")

    first = search("--account", "-", "--reason", "INC-4711", "--tenant", "shop", stdin="u-81\n")
    second = search("--account", "-", stdin="u-81")

    assert ["otp.sent", "otp.issued"] == [event["type"] for event in first]
    lookup = second[0]
    assert ("audit.lookup", "cli", 2, "INC-4711", "shop") == tuple(
        lookup[name] for name in ("type", "key_id", "found", "reason", "tenant")
    )
    keys = read_settings(config).keys.pseudonym
    assert keys.current.derive_pseudonym("account", "u-81") == lookup["account"]
    assert lookup["by"]
    assert "number" not in lookup
    assert "u-81" not in json.dumps(second)


def test_a_number_and_an_account_are_read_in_that_order(search, issued):
    """Events must match both."""
    issued(NUMBER, "u-81")
    issued(OTHER, "u-81")

    found = search("--account", "-", "--number", "-", stdin=f"{OTHER}\nu-81\n")

    assert ["57", "57"] == [event["number_suffix"] for event in found]


def test_the_timeline_of_an_account_is_shown_and_recorded(run_otp, config, issued, search):
    """R58: as a search for it, with who and why."""
    issued(NUMBER, "u-81")
    told = "audit", "show", "--config", config, "--account", "-", "--tenant", "shop"

    ended = run_otp(*told, "--reason", "INC-4711", stdin="u-81\n")

    assert (0, "") == (ended.exit_code, ended.err)
    assert re.match(r"Account \S+ of shop, 2 events since ", ended.out)
    assert re.search(r"  issued +c\d\d-[0-9a-f]{32}, by key web", ended.out)
    assert "u-81" not in ended.out
    (lookup,) = search("--type", "audit.lookup")
    assert (2, "INC-4711", "shop") == tuple(lookup[n] for n in ("found", "reason", "tenant"))
    ended = run_otp(*told, stdin="u-82")
    assert (1, "") == (ended.exit_code, ended.out)
    assert "this account has no events" in ended.err


@pytest.mark.parametrize("command", ["search", "show"])
def test_an_unknown_tenant_is_named_and_its_events_are_searched(run_otp, config, archive, command):
    """A misspelled tenant has no events; one that was removed from the settings still has."""
    account = read_settings(config).keys.pseudonym.current.derive_pseudonym("account", "u-81")
    archive.add_event(7, type="authenticator.rejected", account=account, tenant="bank")
    archive.append_seal()
    told = "audit", command, "--config", config, "--archive", archive.folder, "--account", "-"

    ended = run_otp(*told, "--tenant", "bank", stdin="u-81")

    assert 0 == ended.exit_code
    assert "no tenant is called 'bank': the settings have shop." in ended.err
    assert "bank" in ended.out
    assert "no tenant" not in run_otp(*told, "--tenant", "shop", stdin="u-81").err


@pytest.mark.parametrize("arguments", [(), (OLD, "--account", "-")])
def test_a_timeline_is_of_one_challenge_or_one_account(run_otp, config, arguments):
    """Neither or both is an error with a remedy."""
    ended = run_otp("audit", "show", "--config", config, *arguments, stdin="u-81")

    assert (1, "") == (ended.exit_code, ended.out)
    assert "name one challenge" in ended.err


def test_the_table_names_an_account_where_there_is_no_number(run_otp, config, archive):
    """By the beginning of its pseudonym."""
    account = read_settings(config).keys.pseudonym.current.derive_pseudonym("account", "u-81")
    archive.add_event(7, type="authenticator.rejected", account=account)
    archive.append_seal()
    told = "audit", "search", "--config", config, "--archive", archive.folder

    ended = run_otp(*told, "--account", "-", stdin="u-81")

    assert (0, "") == (ended.exit_code, ended.err)
    assert f"account {account[:12]}  " in ended.out
    assert "PERSON" in ended.out


def test_an_account_among_the_arguments_is_refused_and_not_repeated(run_otp, config):
    """It would be stored in the shell's history."""
    ended = run_otp("audit", "search", "--config", config, "--account", "u-81")

    assert 2 == ended.exit_code
    assert "accounts are read from standard input only" in ended.err
    assert "u-81" not in ended.err + ended.out


@pytest.mark.parametrize(
    ("arguments", "stdin", "remedy"),
    [
        ((), "", "write one account to standard input"),
        ((), "u-81\nu-82\n", "write one account to standard input"),
        ((), "x" * 129, "the account is invalid: write at most 128 characters"),
        (("--number", "-"), "u-81\n", "a number and then an account"),
        (("--number", "-"), "u-81\n+447400123456\n", "the number is invalid"),
        (("--reason", "about u-81"), "u-81\n", "the reason names the account"),
    ],
)
def test_what_is_no_account_is_refused_with_a_remedy(run_otp, config, arguments, stdin, remedy):
    """R69: and neither is it repeated, nor is anything recorded or shown."""
    ended = run_otp(
        "audit", "search", "--config", config, "--account", "-", *arguments, stdin=stdin
    )

    assert (1, "") == (ended.exit_code, ended.out)
    assert remedy in ended.err
    assert "u-81" not in ended.err


@pytest.mark.parametrize("stdin", ["", "07400 999888", f"{NUMBER}\n{OTHER}\n"])
def test_one_number_is_read(run_otp, config, stdin):
    """Zero or two numbers are refused, and not repeated either."""
    ended = run_otp("audit", "search", "--config", config, "--number", "-", stdin=stdin)

    assert (1, "") == (ended.exit_code, ended.out)
    assert "999888" not in ended.err


def test_nothing_is_shown_of_a_number_when_redis_is_away(run_otp, config, archive, monkeypatch):
    """What cannot be recorded is not looked up."""
    monkeypatch.setenv("OTP_REDIS__URL", "redis://127.0.0.1:1")

    ended = run_otp(
        "audit", "search", "--config", config, "--archive", archive.folder, "--number", "-",
        stdin=NUMBER,
    )  # fmt: skip

    assert (1, "") == (ended.exit_code, ended.out)


@pytest.mark.parametrize("evil", EVIL)
def test_every_event_is_one_line_whatever_is_in_it(run_otp, config, archive, evil):
    """R70: text like another event, ANSI, bidi, and what some readers take for a line end."""
    archive.add_event(9, reason=evil, client_ip=evil, challenge=evil, number=evil, country=evil,
                 type=evil, provider=evil)  # fmt: skip
    archive.append_seal()

    ended = run_otp(
        "audit", "search", "--config", config, "--archive", archive.folder, "--limit", "1"
    )

    head, line, *rest = ended.out.split("\n")
    assert head.startswith("TIME (UTC)")
    assert line.isprintable()
    assert [""] == rest


def test_a_limit_says_that_there_is_more(run_otp, config, archive):
    """The output says so, because a count of its lines would be too low."""
    ended = run_otp(
        "audit", "search", "--config", config, "--archive", archive.folder, "--limit", "2"
    )

    assert 3 == len(ended.out.splitlines())
    assert "These are the newest 2" in ended.err


@pytest.mark.parametrize(
    "when", ["", "24", "yesterday", "24h ago", "2026-11-24", "-1h", "9999999h"]
)
def test_a_time_that_is_none_is_refused(run_otp, config, when):
    """The message shows a valid one."""
    ended = run_otp("audit", "search", "--config", config, f"--since={when}")

    assert 1 == ended.exit_code
    assert "invalid time: write one like '24h'" in ended.err


def test_show_tells_a_story_out_of_both(run_otp, config, archive, issued):
    """The challenge is an old one, a pending one, and an unknown one."""
    live = issued(NUMBER)

    def show(challenge: str):
        return run_otp("audit", "show", "--config", config, "--archive", archive.folder, challenge)

    assert (
        f"""\
Challenge {OLD} of shop, for login, to GB …56, issued 2025-11-24 10:00:01.000 UTC.

    +0.000 s  issued            for 203.0.113.9
    +1.000 s  sent              east accepted it in 12 ms
    +2.000 s  attempted         4 attempts left
    +3.000 s  verified

Verified 3.000 s after it was issued, at the first attempt; the last message was sent through east.
"""
        == show(OLD).out
    )
    assert "Not verified yet, open until" in show(live).out
    assert "by key web" in show(live).out
    assert (1, "otp-service: this challenge has no events.\n") == show(OLD[:-1] + "1")[::2]
    assert 1 == show("c99-x").exit_code


def test_stats_count_both(run_otp, config, archive, issued):
    """As a table and for programs. The live challenge is pending, so it is in no conversion."""
    issued(NUMBER)
    arguments = ("--config", config, "--archive", archive.folder, "--since", "2025-11-24T00:00:00Z")

    shown = run_otp("audit", "stats", *arguments, "--by", "tenant").out
    found = json.loads(run_otp("audit", "stats", *arguments, "--json").out)

    assert re.search(r"^shop +2 +2 +0 +0 +1 +1 +100% +0 +0 +0$", shown, re.MULTILINE)
    assert re.search(r"^bank +0 +0 +0 +0 +0 +0 +- +1 +0 +0$", shown, re.MULTILINE)
    names = ("issued", "verified", "pending", "conversion")
    assert (2, 1, 1, 1.0) == tuple(found["total"][name] for name in names)
    assert {"issued": 1, "verified": 1} == {
        name: found["hours"]["2025-11-24T10:00:00.000Z"][name] for name in ("issued", "verified")
    }


def test_stats_name_their_configuration_in_the_command_of_a_finding(run_otp, config, archive):
    """It is pasted as printed; a single call without a key is not "1 calls"."""
    archive.add_event(9, type="access.denied", reason="unknown", count=1)
    archive.append_seal()
    places = ("--config", config, "--archive", archive.folder)

    shown = run_otp("audit", "stats", *places, "--since", "2025-11-24T00:00:00Z").out

    assert f"search --config={config} --archive={archive.folder} --since=" in shown
    assert "\nCalls without a valid key or scope: 1." in shown


def test_stats_count_authenticators_and_recovery_codes(run_otp, config, archive):
    """In a table of their own, with the accounts that were refused most."""
    fields = {"tenant": "shop", "account": "p1:0f0f"}
    for kind in ("enrolled", "confirmed", "verified", "rejected", "replayed"):
        archive.add_event(9, type=f"authenticator.{kind}", **fields)
    archive.add_event(9, type="authenticator.locked", reason="account_locked", **fields)
    archive.append_seal()
    arguments = ("--config", config, "--archive", archive.folder, "--since", "2025-11-24T00:00:00Z")

    shown = run_otp("audit", "stats", *arguments).out
    found = json.loads(run_otp("audit", "stats", *arguments, "--json").out)

    columns = "CREATED +CONFIRMED +VERIFIED +REJECTED +REPLAYED +REFUSED +LOCKED"
    assert re.search(rf"^FACTOR +{columns}$", shown, re.MULTILINE)
    assert re.search(r"^authenticator +1 +1 +1 +1 +1 +0 +1$", shown, re.MULTILINE)
    counts = [found["total"][name] for name in ("verified", "rejected", "refused", "locked")]
    assert [1, 1, 0, 0] == counts  # of the SMS in the archive alone
    assert ["authenticator"] == [*found["factor_refusals"]]
    assert "Refused or wrong most often, accounts:\n  2  p1:0f0f" in shown
    assert "An account of shop is locked for authenticator apps" in shown
    (row,) = found["factors"]
    assert ("authenticator", "shop", 1) == tuple(row[n] for n in ("factor", "tenant", "replayed"))
    assert ["p1:0f0f"] == [lock["account"] for lock in found["locked_accounts"]]


def test_what_no_worker_told_is_not_counted(run_otp, config, archive):
    """An attacker who can write to Redis changes no count."""
    archive.add_event(7, is_ours=False)
    archive.append_seal()

    ended = run_otp("audit", "stats", "--config", config, "--archive", archive.folder,
                "--since", "2025-11-24T00:00:00Z", "--json")  # fmt: skip

    assert 1 == json.loads(ended.out)["total"]["issued"]
    assert "1 events with an invalid MAC are omitted." in ended.err


@pytest.mark.parametrize("command", ["search", "stats"])
def test_a_folder_that_is_not_there_is_named(run_otp, config, tmp_path, command):
    """A mistyped path is not taken for an empty archive."""
    ended = run_otp("audit", command, "--config", config, "--archive", tmp_path / "none")

    assert 1 == ended.exit_code
    assert "there is no folder" in ended.err


def test_a_folder_that_is_not_of_dev_is_said_to_be_none(run_otp, tmp_path):
    """`dev` takes its data folder where other commands take a file."""
    ended = run_otp("audit", "stats", "--config", tmp_path)

    assert (1, "") == (ended.exit_code, ended.out)
    assert f"{tmp_path} is not the data folder of an 'otp-service dev'" in ended.err


def test_events_for_programs_are_ascii(run_otp, config, archive):
    """R70: neither a terminal nor a line reader interprets a value."""
    archive.add_event(9, purpose="\x9b2J\u202e", challenge=OLD.replace("c07", "c09"))
    archive.append_seal()

    found = run_otp("audit", "search", "--json", "--config", config, "--archive", archive.folder)

    assert found.out.isascii()
    assert "\\u009b2J" in found.out


# --------------------------------------------------------------------------- while Redis is away


@pytest.fixture
def without_redis(monkeypatch) -> str:
    """The remark of a command that finds no Redis at a configured address."""
    port = redis_servers.find_free_port()
    monkeypatch.setenv("OTP_REDIS__URL", f"redis://127.0.0.1:{port}")
    cause = f"the connection to 127.0.0.1:{port} failed (Connection refused)"
    return f"The newest events are missing, because they are only in Redis: {cause}.\n"


def test_the_archive_is_searched_while_redis_is_away(run_otp, config, archive, without_redis):
    """What happened before an outage is asked during one."""
    ended = run_otp(
        "audit", "search", "--config", config, "--archive", archive.folder, "--challenge", OLD,
        "--json",
    )  # fmt: skip

    assert 0 == ended.exit_code
    assert list(OLD_TYPES) == [json.loads(line)["type"] for line in ended.out.splitlines()]
    assert without_redis == ended.err


def test_a_timeline_is_shown_while_redis_is_away(run_otp, config, archive, without_redis):
    ended = run_otp("audit", "show", "--config", config, "--archive", archive.folder, OLD)

    assert 0 == ended.exit_code
    assert "203.0.113.9" in ended.out
    assert without_redis == ended.err


def test_events_are_counted_while_redis_is_away(run_otp, config, archive, without_redis):
    ended = run_otp(
        "audit", "stats", "--config", config, "--archive", archive.folder, "--since", "9999d",
        "--json",
    )  # fmt: skip

    assert 0 == ended.exit_code
    assert 1 == json.loads(ended.out)["total"]["verified"]
    assert without_redis == ended.err


@pytest.mark.usefixtures("without_redis")
def test_a_search_for_a_number_needs_redis(run_otp, config, archive):
    """R66: it is recorded before anything is shown, and the record is in Redis."""
    ended = run_otp(
        "audit", "search", "--config", config, "--archive", archive.folder, "--number", "-",
        stdin=NUMBER,
    )  # fmt: skip

    assert (1, "") == (ended.exit_code, ended.out)
    assert "recorded in the audit log, which needs Redis" in ended.err


@pytest.mark.usefixtures("without_redis")
def test_without_an_archive_a_search_needs_redis(run_otp, config):
    """There is nothing else to read."""
    ended = run_otp("audit", "search", "--config", config)

    assert 1 == ended.exit_code
    assert "Redis does not answer as it should: the connection to 127.0.0.1" in ended.err


def test_the_events_of_a_person_are_exported_and_that_is_recorded(
    run_otp, config, archive, read_events
) -> None:
    """The export of a number needs its keys, and is a search for a person like any other."""
    call = ("audit", "export", "--config", config, "--format", "ecs", "--number", "-")
    ended = run_otp(*call, "--reason", "INC-4712", archive.folder, stdin=f"{NUMBER}\n")
    narrowed = run_otp(*call, "--type", "otp.sent", archive.folder, stdin=NUMBER)

    types = [json.loads(line)["event"]["action"] for line in ended.out.splitlines()]
    assert [*reversed(OLD_TYPES)] == types
    assert 1 == len(narrowed.out.splitlines())
    told = [
        (e["found"], e.get("reason")) for e in read_events(NUMBER) if e["type"] == "audit.lookup"
    ]
    assert [(4, "INC-4712"), (1, None)] == told


@pytest.mark.usefixtures("without_redis")
def test_an_export_of_a_person_needs_redis(run_otp, config, archive):
    """R66: seen to fail where the events are written before the record."""
    ended = run_otp(
        "audit", "export", "--config", config, "--format", "ecs", "--number", "-", archive.folder,
        stdin=NUMBER,
    )  # fmt: skip

    assert (1, "") == (ended.exit_code, ended.out)
    assert "recorded in the audit log, which needs Redis" in ended.err
