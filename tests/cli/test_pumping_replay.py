"""`otp-service pumping replay` on a sealed archive, without Redis and without settings."""

import json
import re

import pytest

from otp_service.core.timestamps import DAY_MS, MINUTE_MS, format_rfc3339
from tests.audit.archive_builder import START_MS
from tests.audit.pumping_archive import (
    ATTACK_SENDS,
    ATTACK_START_MS,
    ATTACK_STEP_MS,
    ATTACKED_RANGES,
    PRICE,
    write_pumping_archive,
)
from tests.money_text import list_bare_amounts


FLOOR = 16  # sends of a range in an hour
REFUSED = ATTACK_SENDS - ATTACKED_RANGES * FLOOR


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_pumping_archive(tmp_path_factory.mktemp("replay") / "archive")


@pytest.fixture
def replay(run_otp, archive):
    """Replay the archive; return the result, or with --json its document."""

    def run_command(*words):
        result = run_otp("pumping", "replay", archive.folder, *words)
        if "--json" in words:
            assert (0, "") == (result.exit_code, result.err)
            return json.loads(result.out)
        return result

    return run_command


def test_an_attack_is_refused_beyond_the_floors_of_its_ranges_and_no_login_is(replay):
    found = replay("--json")["formulas"]["default"]

    assert {"UnverifiedPerRange": REFUSED} == found["refused_by"]
    assert (0, REFUSED * PRICE) == (found["later_verified"], found["saved"])
    assert [{"country": "US", "day": "2025-11-27", "refused": REFUSED}] == found["refused_in"]
    first = ATTACK_START_MS + ATTACKED_RANGES * FLOOR * ATTACK_STEP_MS
    assert found["first_refused_at"] == format_rfc3339(first)


def test_formulas_are_columns_next_to_the_default(replay):
    result = replay("--formula", "floors.range_sends=8/16", "--formula", "day_budget=1")

    assert (0, "") == (result.exit_code, result.err)
    rows = {line[:22].strip(): line.split() for line in result.out.splitlines()}
    assert rows["UnverifiedPerRange"][1:3] == [f"{REFUSED}", f"{ATTACK_SENDS - 3 * 8}"]
    assert int(rows["SpendOverall"][-1]) > REFUSED
    assert re.search(r"saves +0\.576 USD +0\.768 USD ", result.out)
    assert [] == list_bare_amounts(result.out, "USD")


def test_a_formula_can_be_a_toml_file(replay, tmp_path):
    file = tmp_path / "careful.toml"
    file.write_text("deviations = 3\n[floors]\nrange_sends = [8, 16]\n")

    found = replay("--formula", file, "--json")["formulas"]

    assert [REFUSED, ATTACK_SENDS - 3 * 8] == [one["refused"] for one in found.values()]


def test_the_first_half_of_a_short_archive_is_learned_from(replay):
    """Of a longer one the first 14 days, or with --from the 14 days before."""
    document = replay("--json")
    assert document["archive"]["from"] == format_rfc3339(START_MS)
    counted = replay("--from", format_rfc3339(START_MS + DAY_MS), "--json")
    assert counted["counted"]["from"] == format_rfc3339(START_MS + DAY_MS)
    assert 144 == counted["log"]["sends"] - document["log"]["sends"]

    until = format_rfc3339(ATTACK_START_MS + 15 * MINUTE_MS)
    assert 60 - 48 == replay("--to", until, "--json")["formulas"]["default"]["refused"]


def test_only_the_chosen_sends_are_counted(replay):
    assert 0 == replay("--country", "FR", "--json")["log"]["sends"]
    whole = replay("--json")
    assert whole == replay("--tenant", "shop", "--country", "US", "--json")


def test_a_tenant_without_a_send_is_an_error_that_names_those_with_one(replay):
    """A misspelled name would look like a brake that refuses nothing."""
    ended = replay("--tenant", "shpo")

    assert (1, "") == (ended.exit_code, ended.out)
    assert "no send of the archive is of this tenant. It has those of shop." in ended.err


def test_an_archive_is_verified_before_it_is_replayed(replay, archive, tmp_path):
    keys = tmp_path / "audit.pub"
    keys.write_text("".join(f"{key}\n" for key in archive.keys))
    assert 0 == replay("--public-key", keys).exit_code

    segment = min(archive.folder.glob("*/*"))
    text = segment.read_bytes()
    segment.write_bytes(text.replace(b'"otp.verified"', b'"otp.rejected"', 1))
    try:
        refused = replay("--public-key", keys)
    finally:
        segment.write_bytes(text)
    assert 1 == refused.exit_code
    assert "'otp-service audit verify' shows why" in refused.err


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (("--formula", "mode=off"), 1, "--formula mode=off: mode is no part of a formula"),
        (("--formula", "missing.toml"), 2, "cannot read missing.toml"),
        (("--price", "GB=free"), 1, "--price and --usd-rate: "),
        (("--currency", "EUR"), 1, "--usd-rate is missing: write what one US dollar costs in EUR"),
        (("--usd-rate", "0.92"), 1, "--usd-rate is for another --currency than USD"),
        (("--from", "2030-01-01T00:00:00Z"), 1, "nothing is counted"),
        (("--from", "yesterday"), 1, "invalid time"),
        (("--country", "gb"), 1, "--country and --price need ISO 3166 codes: gb (write GB)."),
        (("--price", "UK=0.05"), 1, "--country and --price need ISO 3166 codes: UK (write GB)."),
    ],
)
def test_what_cannot_be_replayed_is_refused_with_what_to_do(replay, words, exit_code, message):
    result = replay(*words)

    assert (exit_code, "") == (result.exit_code, result.out)
    assert message in result.err


def test_a_folder_without_events_is_no_archive(run_otp, tmp_path):
    result = run_otp("pumping", "replay", tmp_path)

    assert 2 == result.exit_code
    assert "is not an archive" in result.err
