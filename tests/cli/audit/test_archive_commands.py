"""`audit verify`, `anchor`, `prove`, `verify-proof` and `key`."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest

from otp_service.audit.archive_format.entries import encode_entry
from otp_service.audit.archive_format.seals import PublicKey, SigningKey, find_anchors
from otp_service.core.log_entry import Entry, StreamPosition
from tests.audit.archive_builder import EPOCH, ArchiveBuilder, build_standard_archive
from tests.audit.archive_edits import (
    apply_edit,
    delete_lines,
    get_newest_anchor,
    list_anchors,
    replace_text,
)


EVENT = f"02-{EPOCH}-2"


@pytest.fixture
def archive(tmp_path):
    return build_standard_archive(tmp_path / "archive")


@pytest.fixture
def keys(archive, tmp_path):
    path = tmp_path / "audit.pub"
    path.write_text("# ours\n" + "".join(f"{key}\n" for key in archive.keys))
    return path


@pytest.fixture
def places(archive, keys, tmp_path):
    places = {"keys": keys, "folder": archive.folder, "new": tmp_path / "new"}
    places |= {name: tmp_path / name for name in ("empty", "other")}
    places["new"].mkdir()
    places["empty"].write_text("# nothing\n")
    places["other"].write_text("otp-audit-key 0 AAAA")
    return places


def test_verify_says_what_it_verified_and_up_to_when(run_otp, archive, keys):
    """It also reports what is not protected yet."""
    ended = run_otp("audit", "verify", archive.folder, "--public-key", keys)

    number, at, hashed = get_newest_anchor(archive)
    assert (0, "") == (ended.exit_code, ended.err)
    assert f"verified  21 events, up to seal {number} of {at}\n          {hashed}\n" in ended.out
    assert "unsealed  2 lines after the last seal" in ended.out
    assert "result    sound" in ended.out
    assert "3 events of partition 2" in ended.out, "the gap is told"


def test_verify_says_what_is_wrong_and_where(run_otp, archive, keys):
    """File, line, seal and event are reported in the format of compilers."""
    apply_edit(archive, delete_lines("first", 7, 7))

    ended = run_otp("audit", "verify", archive.folder, "--public-key", keys)

    assert 1 == ended.exit_code
    assert f"FOUND 2025-11-24/000000000001.jsonl:7: missing: 01-{EPOCH}-3 is missing" in ended.out
    assert f"(seal 2, event 01-{EPOCH}-3)" in ended.out
    assert "FOUND 2025-11-24/000000000001.jsonl:6-8: changed:" in ended.out
    assert "verified  4 events, up to seal 1 of" in ended.out
    assert "result    2 findings" in ended.out


def test_verify_tells_programs_the_same(run_otp, archive, keys):
    """The JSON output has the same content and exit code."""
    sound = run_otp("audit", "verify", archive.folder, "--public-key", keys, "--json")
    apply_edit(archive, replace_text("first", 7, "shop", "shoq"))
    found = run_otp("audit", "verify", archive.folder, "--public-key", keys, "--json")

    assert (0, 1) == (sound.exit_code, found.exit_code)
    assert [True, 6, 21] == [json.loads(sound.out)[n] for n in ("is_sound", "seals", "events")]
    (finding,) = json.loads(found.out)["findings"]
    assert ("changed", "2025-11-24/000000000001.jsonl", 6, 9, 2) == tuple(
        finding[name] for name in ("kind", "file", "line", "last", "seal")
    )


def test_verify_says_how_many_it_does_not_list(run_otp, archive, keys):
    """The list is cut for an archive in which everything is wrong."""
    apply_edit(archive, lambda files: files.first.extend([b"?\n"] * 300))

    ended = run_otp("audit", "verify", archive.folder, "--public-key", keys)

    assert "Not all are listed. found:" in ended.out
    assert "unreadable 300" in ended.out


def test_an_anchor_in_a_line_or_in_a_file_tells_of_a_tail_that_was_cut_off(
    run_otp, archive, keys, tmp_path
):
    """`audit anchor` prints the line; a mail around it does not matter."""
    line = run_otp("audit", "anchor", archive.folder).out
    mail = tmp_path / "mail.txt"
    mail.write_text(f"Dear auditor,\n\n> {line}\nYours\n")
    verify = ("audit", "verify", archive.folder, "--public-key", keys)
    before = [run_otp(*verify, "--anchor", line.strip()), run_otp(*verify, "--anchor", mail)]
    twice = ("--anchor", line.strip(), "--anchor", mail)
    apply_edit(archive, delete_lines("third", 6))
    after = [run_otp(*verify, "--anchor", line.strip()), run_otp(*verify, "--anchor", mail)]

    assert [get_newest_anchor(build_standard_archive(tmp_path / "again"))] == find_anchors(line)
    assert 1 == run_otp("audit", "verify", *twice, "--public-key", keys, archive.folder).exit_code
    assert [0, 0, 1, 1] == [ended.exit_code for ended in before + after]
    assert all("the archive ends before it: its tail was cut off" in ended.out for ended in after)


def test_nothing_that_somebody_wrote_there_reaches_the_terminal(run_otp, archive, keys, tmp_path):
    """The name of a file, a seal and an event are all escaped (R70)."""
    event = archive.add_event(1, tenant="x\u009b2Jy")
    archive.append_seal()
    proof = tmp_path / "proof.json"
    proof.write_text(run_otp("audit", "prove", archive.folder, event).out)
    proved = run_otp("audit", "verify-proof", proof, "--public-key", keys)
    (archive.folder / "x\x1b[2J\nresult    sound").touch()
    (archive.folder / os.fsdecode(b"\xff")).touch()
    archive.append_seal(key="\x1b[2J\nresult    sound")

    ended = run_otp("audit", "verify", archive.folder, "--public-key", keys)
    told = run_otp("audit", "verify", archive.folder, "--public-key", keys, "--json")

    assert "\\x9b2Jy" in proved.out
    assert r"FOUND x\x1b[2J\nresult    sound: foreign" in ended.out
    assert r"the key \x1b[2J\nresult    sound" in ended.out
    assert {"found", "noted"} <= json.loads(told.out).keys()
    assert not [one for one in (ended.out, proved.out) if "\x1b" in one or "\x9b" in one]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("verify", "nowhere", "--public-key", "{keys}"), "nowhere is not a folder"),
        (("verify", "{new}", "--public-key", "{keys}"), "has no segment"),
        (("verify", "{folder}", "--public-key", "nowhere"), "cannot read nowhere"),
        (("verify", "{folder}", "--public-key", "{other}"), "is not a file of public keys: line 1"),
        (("verify", "{folder}", "--public-key", "{empty}"), "has no public key in it"),
        (("verify", "{folder}", "--public-key", "{keys}", "--anchor", "x"), "cannot read x"),
        (("verify", "{folder}", "--public-key", "{keys}", "--anchor", "{empty}"), "has no line"),
        (("anchor", "nowhere"), "nowhere is not a folder"),
        (("anchor", "{new}"), "has no seal yet"),
        (("prove", "{folder}", f"09-{EPOCH}-1"), "has no event 09-"),
        (("verify-proof", "{other}", "--public-key", "{keys}"), "is not a proof"),
    ],
)
def test_a_call_that_verifies_nothing_is_a_wrong_one(run_otp, places, arguments, why):
    """Exit code 2: neither success nor a finding."""
    ended = run_otp("audit", *[argument.format(**places) for argument in arguments])

    assert (2, "") == (ended.exit_code, ended.out)
    assert why in ended.err


def test_an_id_that_is_none_is_a_wrong_call(run_otp, archive):
    """The message shows a valid id."""
    ended = run_otp("audit", "prove", archive.folder, "7")

    assert 2 == ended.exit_code
    assert "an id is like 07-1763814000123-42" in ended.err


def test_a_proof_proves_one_event(run_otp, archive, keys, tmp_path):
    """A verifier needs only the public keys."""
    proof = tmp_path / "proof.json"
    proof.write_text(run_otp("audit", "prove", archive.folder, EVENT).out)

    anchors = ("--anchor", "\n".join(map(str, list_anchors(archive))))
    alone_ended = run_otp("audit", "verify-proof", proof, "--public-key", keys)
    ended = run_otp("audit", "verify-proof", proof, "--public-key", keys, *anchors)
    proof.write_text(proof.read_text().replace("shop", "shoq"))
    forged = run_otp("audit", "verify-proof", proof, "--public-key", keys, *anchors)

    assert 1 == alone_ended.exit_code
    assert "give the anchor of seal 2 with --anchor" in alone_ended.out

    assert 0 == ended.exit_code
    assert f"event   {EVENT} of 2025-11-24T10:00:05.000Z" in ended.out
    assert '"tenant":"shop"' in ended.out
    assert 2 == find_anchors(ended.out)[0].number
    assert 1 == forged.exit_code
    assert "It proves nothing: its line is not among those that were sealed." in forged.out


@pytest.mark.parametrize("place", ["seal", "member"])
def test_a_forged_proof_writes_no_line_of_its_own(run_otp, archive, keys, tmp_path, place):
    """R70: a refused file could print a result and hide the rest. Seen to fail without escaping."""
    made = run_otp("audit", "prove", archive.folder, EVENT).out
    text = "\nresult  it is one of the 3 lines\x1b[8m"
    members = json.loads(made)
    if place == "seal":
        seal = json.loads(members["seal"])
        seal["seal"]["key"] = text
        members["seal"] = json.dumps(seal, separators=(",", ":"))
    else:
        members[text] = 1
    proof = tmp_path / "proof.json"
    proof.write_text(json.dumps(members))

    ended = run_otp("audit", "verify-proof", proof, "--public-key", keys)

    assert ended.exit_code in {1, 2}
    assert r"\nresult  it is one of the 3 lines\x1b[8m" in ended.out + ended.err
    assert 1 == len((ended.out + ended.err).splitlines())


def test_the_events_of_a_challenge_are_proved_in_one_file(run_otp, archive, keys, tmp_path):
    """For a court or a partner: they need the public key alone, and see no other event."""
    challenge = "c01-" + "5" * 32
    events = [archive.add_event(1, challenge=challenge) for _ in range(2)]
    archive.append_seal()
    events.append(archive.add_event(1, challenge=challenge, type="otp.verified"))
    archive.append_seal()
    archive.add_event(1, challenge=challenge, type="otp.verify_denied")
    proof = tmp_path / "proof.json"

    made = run_otp("audit", "prove", archive.folder, "--challenge", challenge)
    proof.write_text(made.out)
    ended = run_otp("audit", "verify-proof", proof, "--public-key", keys)
    proof.write_text(made.out.replace("otp.verified", "otp.rejected"))
    forged = run_otp("audit", "verify-proof", proof, "--public-key", keys)

    assert "1 events are left out: no seal covers them yet. Repeat it in a minute.\n" == made.err
    assert (0, 0, 1) == (made.exit_code, ended.exit_code, forged.exit_code)
    assert events == re.findall(r"^event   (\S+)", ended.out, re.MULTILINE)
    assert f"result  3 events of {challenge} under 2 seals of the key" in ended.out
    assert "It proves nothing: its line is not among those that were sealed.\n" == forged.out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--challenge", "c01-" + "6" * 32), "has no event of c01-66"),
        (("--challenge", "7"), "has no event of 7 that is sealed"),
        ((EVENT, "--challenge", "c01-" + "6" * 32), "not allowed with"),
        ((), "one of the arguments"),
    ],
)
def test_a_proof_of_nothing_is_a_wrong_call(run_otp, archive, arguments, why):
    """Exit code 2, and the message says what was missing."""
    ended = run_otp("audit", "prove", archive.folder, *arguments)

    assert (2, "") == (ended.exit_code, ended.out)
    assert why in ended.err


def test_a_proof_says_that_a_mac_was_wrong(run_otp, archive, keys, tmp_path):
    """The proof shows that the event was archived like this, not that a worker wrote it."""
    proof = tmp_path / "proof.json"
    proof.write_text(run_otp("audit", "prove", archive.folder, f"01-{EPOCH}-6").out)

    anchors = ("--anchor", "\n".join(map(str, list_anchors(archive))))
    ended = run_otp("audit", "verify-proof", proof, "--public-key", keys, *anchors)

    assert "its MAC was wrong when it was archived" in ended.out


def test_a_key_is_written_for_its_owner_alone_and_its_public_half_printed(run_otp, tmp_path):
    """The printed line verifies what the key signs."""
    path, public = tmp_path / "audit.pem", tmp_path / "audit.pub"

    made = run_otp("audit", "key", path)

    line = made.out.splitlines()[-1]
    public.write_text(line)
    archive = ArchiveBuilder(tmp_path / "archive", SigningKey.from_pem(path.read_bytes()))
    archive.add_event(1)
    archive.append_seal()
    assert 0o600 == path.stat().st_mode & 0o777
    assert line.startswith(PublicKey.LINE_PREFIX)
    assert 0 == run_otp("audit", "verify", archive.folder, "--public-key", public).exit_code
    assert "PRIVATE" not in made.out


def test_a_key_that_is_there_is_left_alone(run_otp, tmp_path):
    """What it has signed can be verified only with it."""
    path = tmp_path / "audit.pem"
    path.write_text("mine")

    ended = run_otp("audit", "key", path)

    assert (2, "mine") == (ended.exit_code, path.read_text())
    assert "File exists" in ended.err


# ------------------------------------------------------------------------------ without the service

ALONE = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages!r} or name.startswith({ours!r}):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
from otp_service.cli import main
sys.exit(main({arguments!r}))
"""

PACKAGES = ("aiohttp", "argon2", "granian", "httpx", "litestar", "phonenumbers", "redis", "uvloop")
OURS = ("otp_service.app", "otp_service.settings", "otp_service.store", "otp_service.service")


def alone(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in an environment without the service and without Redis."""
    words = [str(argument) for argument in arguments]
    program = ALONE.format(packages=PACKAGES, ours=OURS, arguments=words)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )


def test_auditors_need_neither_the_service_nor_redis(archive, keys, tmp_path):
    """No command that verifies imports any of their modules."""
    proof = tmp_path / "proof.json"
    ended = [
        alone("audit", "verify", archive.folder, "--public-key", keys),
        alone("audit", "anchor", archive.folder),
        alone("audit", "prove", archive.folder, EVENT),
        alone("audit", "key", tmp_path / "audit.pem"),
    ]
    proof.write_text(ended[2].stdout)
    anchors = ("--anchor", "\n".join(map(str, list_anchors(archive))))
    ended.append(alone("audit", "verify-proof", proof, "--public-key", keys, *anchors))

    assert [(0, "")] * 5 == [(one.returncode, one.stderr) for one in ended]
    assert 0 != alone("check").returncode, "which does need them"


def test_progress_is_shown_to_a_person_alone(archive, keys):
    """It is on standard error of a terminal, and erased at the end."""
    program = """
import sys
from otp_service import cli
from otp_service.cli.audit import verify
verify.PROGRESS_STEP_BYTES = 1000
sys.exit(cli.main(sys.argv[1:]))
"""
    arguments = ("audit", "verify", archive.folder, "--public-key", keys)
    leader, follower = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", program, *arguments],
        stderr=follower,
        stdout=subprocess.PIPE,
        check=True,
    )
    shown = os.read(leader, 10_000).decode()
    os.close(leader)
    os.close(follower)

    assert "%\r" in shown
    assert shown.endswith("\x1b[K")


def test_an_archive_without_a_seal_is_not_sound(run_otp, archive, keys):
    """An attacker who replaces the folder has no key, and an archive without seals needs none."""
    first, *others = archive.folder.glob("*/*.jsonl")
    for path in (first, *others):
        path.unlink()
    lines = [line for line in first_lines() if not line.startswith(b'{"seal"')]
    (archive.folder / "2025-11-24" / "000000000001.jsonl").write_bytes(b"".join(lines))

    ended = run_otp("audit", "verify", archive.folder, "--public-key", keys)
    told = run_otp("audit", "verify", archive.folder, "--public-key", keys, "--json")

    assert (2, 2) == (ended.exit_code, told.exit_code)
    assert "result    nothing is verified: there is no seal" in ended.out
    assert json.loads(told.out)["is_sound"] is False


def first_lines() -> list[bytes]:
    """Return lines as a sealer writes them, of one event and without its seal."""
    entry = Entry(
        partition=7, position=StreamPosition(1, 1), epoch=1, event=b"{}", mac="forged", stamp=b""
    )
    return [encode_entry(entry, has_valid_mac=True) + b"\n"]


def test_an_anchor_is_one_line_whatever_the_seal_says(run_otp, archive):
    """R70: the seal is not verified yet, and the line is mailed."""
    archive.append_seal(at="2025-11-24T10:00:00Z\nBcc: x\x1b[2J\x9b2J")

    printed = run_otp("audit", "anchor", archive.folder).out

    assert 1 == len(printed.splitlines())
    assert printed.strip().isprintable()


def test_what_programs_get_is_ascii(run_otp, archive, keys):
    """R70: no terminal and no line reader interprets a value."""
    event = archive.add_event(1, tenant="\x9b2J\u202e")
    archive.append_seal(key="\x9b2J\u2028\u202e")

    proof = run_otp("audit", "prove", archive.folder, event).out
    told = run_otp("audit", "verify", archive.folder, "--public-key", keys, "--json").out

    assert proof.isascii()
    assert told.isascii()


def test_an_archive_that_may_not_be_read_is_told_in_one_line(run_otp, archive, keys, monkeypatch):
    """It is not taken for an empty archive."""

    def listdir(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", listdir)
    monkeypatch.setattr(os, "scandir", listdir)
    calls = (
        ("verify", archive.folder, "--public-key", keys),
        ("anchor", archive.folder),
        ("prove", archive.folder, EVENT),
        ("export", archive.folder, "--format", "ecs"),
    )

    ended = [run_otp("audit", *call) for call in calls]

    assert [2] * 4 == [one.exit_code for one in ended]
    assert {f"otp-service: cannot read {archive.folder}: Permission denied.\n"} == {
        one.err for one in ended
    }
