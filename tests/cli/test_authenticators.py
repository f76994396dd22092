"""`authenticators import | export | reseal`, with and without a Redis."""

import getpass
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

import otp_service
from otp_service.app import RANDOM_SOURCE
from otp_service.audit.query.stream_scan import MAX_POSITION
from otp_service.cli.common import read_settings
from otp_service.clock import now_ms
from otp_service.core.authenticator import (
    create_authenticator,
    decode_authenticator,
)
from otp_service.core.keys import create_single_key_ring
from otp_service.core.sealed_token import TokenCipher, TokenKind
from otp_service.store.event_streams import RedisEventStreams
from tests.cli.conftest import _run_with_app
from tests.store import redis_servers


BASE32 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
SHORT_BASE32 = "GEZDGNBVGY3TQOJQGEZDGNBV"
WEAK_BASE32 = "JBSWY3DPEHPK3PXP"


def format_lines(*lines: object) -> str:
    return "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)


def parse_lines(text: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in text.splitlines()]


def create_cipher(config: Path) -> TokenCipher:
    return TokenCipher(read_settings(config).keys.authenticator, RANDOM_SOURCE.token_bytes)


@pytest.fixture
def read_transfers(config):
    """Return the events of the command, oldest first."""

    async def read_entries(app):
        partition = app.store.key_names.compute_partition("service")
        streams = RedisEventStreams(app.script_client, app.store.key_names)
        newest = await streams.fetch_newest({partition: MAX_POSITION}, since=0, count=100)
        found = [json.loads(entry.event) for entry in reversed(newest[partition])]
        return [event for event in found if event["type"].startswith("authenticator.")]

    return lambda: _run_with_app(config, read_entries)


@pytest.fixture
def import_tokens(run_otp, config):
    """Import secrets, and return the lines with their tokens."""

    def run_import(*accounts: str) -> str:
        lines = [{"account": account, "secret": BASE32} for account in accounts]
        ended = run_otp(
            *("authenticators", "import", "--tenant", "shop", "--config", config),
            stdin=format_lines(*lines),
        )
        assert 0 == ended.exit_code, ended.err
        return ended.out

    return run_import


# ---------------------------------------------------------------------------------------- import


def test_an_import_writes_a_token_for_each_line(run_otp, config, read_transfers):
    uri = f"otpauth://totp/Shop:alice?secret={BASE32}&algorithm=SHA256&digits=8&period=60"
    lines = format_lines(
        {"account": "u-81", "secret": BASE32.lower()},
        "",
        {"account": "ü 82", "secret": uri},
        {"account": "u-83", "secret": BASE32, "digits": 7, "period": 20, "algorithm": "SHA512"},
    )

    ended = run_otp("authenticators", "import", "--tenant", "shop", "--config", config, stdin=lines)

    assert 0 == ended.exit_code, ended.err
    assert ended.out.isascii()
    written = parse_lines(ended.out)
    assert ["u-81", "ü 82", "u-83"] == [line["account"] for line in written]
    cipher = create_cipher(config)
    opened = [decode_authenticator(cipher, line["authenticator"])[0] for line in written]
    assert [("sha1", 6, 30), ("sha256", 8, 60), ("sha512", 7, 20)] == [
        (one.algorithm, one.digits, one.period) for one in opened
    ]
    assert {("shop", b"12345678901234567890")} == {(one.tenant, one.secret) for one in opened}
    assert "Lines: 3 read, 0 refused, 3 converted." in ended.err
    assert "The event authenticator.imported was written." in ended.err
    (event,) = read_transfers()
    assert (3, "shop", "cli") == (event["count"], event["tenant"], event["key_id"])
    assert getpass.getuser() == event["by"]
    assert BASE32 not in json.dumps(event)


def test_an_import_confirms_with_the_step_after_its_own(import_tokens, config):
    """What the old system can have seen is used here; the app's code of two steps later is not."""
    before = now_ms()
    (line,) = parse_lines(import_tokens("u-81"))

    opened, _ = decode_authenticator(create_cipher(config), line["authenticator"])

    assert before <= opened.created_at <= now_ms()
    assert opened.created_at == opened.confirmed_at
    assert opened.created_at // 30_000 + 1 == opened.confirmed_step


@pytest.mark.parametrize("shift_ms", [-3_600_000, 3_600_000])
def test_an_import_takes_the_time_of_redis(run_otp, config, monkeypatch, shift_ms):
    """A slow host would accept codes that the other system has seen."""
    monkeypatch.setattr("otp_service.cli.authenticator_lines.now_ms", lambda: now_ms() + shift_ms)
    before = now_ms()

    ended = run_otp(
        *("authenticators", "import", "--tenant", "shop", "--config", config),
        stdin=format_lines({"account": "u-81", "secret": BASE32}),
    )

    assert "The time of the import" not in ended.err
    (line,) = parse_lines(ended.out)
    opened, _ = decode_authenticator(create_cipher(config), line["authenticator"])
    assert before <= opened.created_at <= now_ms()
    assert opened.created_at // 30_000 + 1 == opened.confirmed_step


def test_a_repeated_import_has_the_same_states(import_tokens, config):
    cipher = create_cipher(config)
    states = {
        decode_authenticator(cipher, line["authenticator"])[0].state_id
        for _ in range(2)
        for line in parse_lines(import_tokens("u-81", "u-82"))
    }

    assert 2 == len(states)


def test_refused_lines_are_named_and_the_others_are_done(run_otp, config, read_transfers):
    lines = format_lines(
        {"account": "u-1", "secret": BASE32},
        {"account": "u-2", "secret": WEAK_BASE32},
        BASE32,
        "",
        {"account": "u-3", "secret": SHORT_BASE32},
    )

    ended = run_otp("authenticators", "import", "--tenant", "shop", "--config", config, stdin=lines)

    assert 1 == ended.exit_code
    assert ["u-1", "u-3"] == [line["account"] for line in parse_lines(ended.out)]
    assert "line 2: secret must have at least 112 bits, and has 80" in ended.err
    assert "line 3: is not valid JSON" in ended.err
    assert "Secrets with fewer than 160 bits: 1, in line 5." in ended.err
    assert "Lines: 4 read, 2 refused, 2 converted." in ended.err
    for secret in (BASE32, WEAK_BASE32, SHORT_BASE32):
        assert secret not in ended.out + ended.err
    assert [2] == [event["count"] for event in read_transfers()]


def test_of_many_short_secrets_the_first_lines_are_named(run_otp, config):
    lines = [{"account": f"u-{number}", "secret": SHORT_BASE32} for number in range(12)]

    ended = run_otp(
        *("authenticators", "import", "--tenant", "shop", "--config", config, "--dry-run"),
        stdin=format_lines(*lines),
    )

    assert "160 bits: 12, in lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ...." in ended.err


def test_hexadecimal_secrets_are_read_with_a_flag(run_otp, config):
    command = ("authenticators", "import", "--tenant", "shop", "--config", config)
    lines = format_lines({"account": "u-81", "secret": b"12345678901234567890".hex()})

    refused = run_otp(*command, stdin=lines)
    ended = run_otp(*command, "--hex", stdin=lines)

    assert "--hex reads hexadecimal" in refused.err
    (line,) = parse_lines(ended.out)
    opened, _ = decode_authenticator(create_cipher(config), line["authenticator"])
    assert b"12345678901234567890" == opened.secret


def test_text_that_is_not_utf_8_is_refused(run_otp, config):
    """Another reading of the bytes would be another account."""
    ended = run_otp(
        *("authenticators", "import", "--tenant", "shop", "--config", config),
        stdin=b'{"account": "m\xe9", "secret": "%s"}\n' % BASE32.encode(),
    )

    assert (1, "") == (ended.exit_code, ended.out)
    assert "line 1: is not valid JSON in UTF-8" in ended.err


def test_an_unknown_tenant_is_refused_with_those_that_exist(run_otp, config):
    """No call of the service would ever accept such a token."""
    ended = run_otp("authenticators", "import", "--tenant", "shpo", "--config", config, stdin="{}")

    assert 1 == ended.exit_code
    assert "no tenant is called 'shpo': the settings have shop." in ended.err


@pytest.mark.parametrize("command", ["import --tenant shop", "export", "reseal"])
def test_an_empty_input_is_an_error(run_otp, config, command):
    """A file that was not written yet, or the wrong one, must not look like success."""
    ended = run_otp("authenticators", *command.split(), "--config", config, stdin="\n\n")

    assert (1, "") == (ended.exit_code, ended.out)
    assert "no line was given" in ended.err


# ---------------------------------------------------------------------------------------- export


def test_an_export_writes_the_secrets_and_says_so(run_otp, config, import_tokens, read_transfers):
    tokens = import_tokens("u-81", "u-82")

    ended = run_otp("authenticators", "export", "--config", config, stdin=tokens)

    assert 0 == ended.exit_code, ended.err
    assert [("u-81", BASE32), ("u-82", BASE32)] == [
        (line["account"], line["secret"]) for line in parse_lines(ended.out)
    ]
    assert "The output holds the secrets in the clear" in ended.err
    assert "The event authenticator.exported was written." in ended.err
    assert BASE32 not in ended.err
    exported = [event for event in read_transfers() if event["type"] == "authenticator.exported"]
    assert [(2, getpass.getuser())] == [(event["count"], event["by"]) for event in exported]


def test_an_export_can_be_imported_elsewhere(run_otp, config, import_tokens):
    """A move to another installation: only the keys differ."""
    exported = run_otp("authenticators", "export", "--config", config, stdin=import_tokens("u-81"))

    imported = run_otp(
        *("authenticators", "import", "--tenant", "shop", "--config", config), stdin=exported.out
    )

    assert 0 == imported.exit_code, imported.err
    (line,) = parse_lines(imported.out)
    assert (
        BASE32
        == decode_authenticator(create_cipher(config), line["authenticator"])[0].base32_secret
    )


def test_an_export_refuses_what_is_not_a_confirmed_authenticator(run_otp, config, import_tokens):
    cipher = create_cipher(config)
    unconfirmed = create_authenticator(RANDOM_SOURCE.token_bytes, "shop", "u-1", now_ms())
    lines = format_lines(
        {"authenticator": unconfirmed.seal(cipher)},
        {"authenticator": cipher.seal(TokenKind.RECOVERY_SET, b"a body")},
        {"authenticator": parse_lines(import_tokens("u-2"))[0]["authenticator"], "account": "u-3"},
    )

    ended = run_otp("authenticators", "export", "--config", config, stdin=lines)

    assert (1, "") == (ended.exit_code, ended.out)
    assert "line 1: authenticator is unconfirmed" in ended.err
    assert "line 2: authenticator is not a token" in ended.err
    assert "line 3: account is not that of the authenticator's token" in ended.err
    assert "event" not in ended.err
    assert "secrets in the clear" not in ended.err


def run_on_terminal(*arguments: object, stdin: str, lines: int = 0) -> str:
    """Run a command whose output is a terminal; return what it shows."""
    program = f"""
import sys
from otp_service import cli
from otp_service.cli import authenticator_lines
authenticator_lines.PROGRESS_STEP_LINES = {lines or 1000}
sys.exit(cli.main(sys.argv[1:]))
"""
    leader, follower = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        input=stdin.encode(),
        stdout=follower,
        stderr=follower,
        check=False,
    )
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    return shown


def test_an_export_shows_no_secret_on_a_terminal(config, import_tokens):
    shown = run_on_terminal(
        "authenticators", "export", "--config", config, stdin=import_tokens("u-81")
    )

    assert "a terminal would show the secrets: write them to a file." in shown
    assert BASE32 not in shown


def test_progress_is_shown_to_a_person_alone(run_otp, config, import_tokens):
    """It is on the terminal, and erased at the end."""
    tokens = import_tokens("u-81", "u-82")

    shown = run_on_terminal(
        *("authenticators", "export", "--dry-run", "--config", config), stdin=tokens, lines=2
    )

    assert "lines: 2\r" in shown
    assert "\r\x1b[KLines: 2 read" in shown
    ended = run_otp("authenticators", "export", "--dry-run", "--config", config, stdin=tokens)
    assert "lines: 2" not in ended.err


# ---------------------------------------------------------------------------------------- reseal


def write_keys(path: Path, *key_ids: str) -> Path:
    """Write a file with [keys] alone; each key depends on its id."""
    ring = ", ".join(f'{{ id = "{name}", secret = "{name * 22}" }}' for name in key_ids)
    other = "".join(f'{name} = [{{ id = "k1", secret = "{"k1" * 22}" }}]\n' for name in OTHER_RINGS)
    path.touch(0o600)
    path.write_text(f"[keys]\n{other}authenticator = [{ring}]\n")
    return path


OTHER_RINGS = ("pepper", "seal", "state", "pseudonym", "limit")


def test_a_reseal_needs_the_keys_alone(run_otp, tmp_path):
    """Both kinds of tokens move to the first key, and every other member stays."""
    keys = write_keys(tmp_path / "keys.toml", "a2", "a1")
    old = TokenCipher(create_single_key_ring("a1", "a1" * 22), RANDOM_SOURCE.token_bytes)
    authenticator = create_authenticator(RANDOM_SOURCE.token_bytes, "shop", "u-1", now_ms())
    lines = format_lines(
        {"row": 7, "authenticator": authenticator.seal(old), "recovery_set": None},
        {"row": 8, "recovery_set": old.seal(TokenKind.RECOVERY_SET, b"a body")},
        {"row": 9, "authenticator": authenticator.seal(create_cipher(keys))},
    )

    ended = run_otp("authenticators", "reseal", "--config", keys, stdin=lines)

    assert 0 == ended.exit_code, ended.err
    written = parse_lines(ended.out)
    assert [7, 8, 9] == [line["row"] for line in written]
    new = TokenCipher(create_single_key_ring("a2", "a2" * 22), RANDOM_SOURCE.token_bytes)
    assert (authenticator, "a2") == decode_authenticator(new, written[0]["authenticator"])
    assert b"a body" == new.open(TokenKind.RECOVERY_SET, written[1]["recovery_set"]).body
    assert json.loads(lines.splitlines()[2]) == written[2]
    assert "Tokens that were under another key than 'a2': 2." in ended.err
    assert "event" not in ended.err


def test_a_reseal_names_the_line_whose_key_was_removed(run_otp, tmp_path):
    keys = write_keys(tmp_path / "keys.toml", "a2")
    old = TokenCipher(create_single_key_ring("a1", "a1" * 22), RANDOM_SOURCE.token_bytes)
    token = old.seal(TokenKind.AUTHENTICATOR, b"a body")

    ended = run_otp(
        *("authenticators", "reseal", "--config", keys),
        stdin=format_lines({"authenticator": token}),
    )

    assert (1, "") == (ended.exit_code, ended.out)
    assert "line 1: authenticator is not a token that a key of [keys] has sealed" in ended.err
    assert token not in ended.err


# ------------------------------------------------------------------------------- without Redis


def test_a_dry_run_checks_everything_and_writes_nothing(
    run_otp, config, import_tokens, read_transfers
):
    tokens = import_tokens("u-81")
    secrets = format_lines({"account": "u-1", "secret": BASE32}, {"account": "u-2"})
    commands = {"import --tenant shop": secrets, "export": tokens, "reseal": tokens}

    for command, lines in commands.items():
        words = ("authenticators", *command.split(), "--dry-run", "--config", config)
        ended = run_otp(*words, stdin=lines)
        assert (lines == secrets, "") == (bool(ended.exit_code), ended.out)
        assert "1 can be converted, and nothing was written." in ended.err
        assert "event" not in ended.err
        assert ("Tokens that are under another key than" in ended.err) == (command == "reseal")

    assert 1 == len(read_transfers())


def test_without_redis_everything_is_done_and_the_missing_event_is_reported(
    run_otp, config, monkeypatch
):
    monkeypatch.setenv("OTP_REDIS__URL", f"redis://127.0.0.1:{redis_servers.find_free_port()}")
    lines = format_lines({"account": "u-81", "secret": BASE32})
    command = ("authenticators", "import", "--tenant", "shop", "--config", config)

    imported = run_otp(*command, stdin=lines)
    exported = run_otp("authenticators", "export", "--config", config, stdin=imported.out)

    for ended in (imported, exported):
        assert 0 == ended.exit_code
        assert re.search("No event was written: Redis is not available .*refused", ended.err)
    clock_report = "The time of the import is that of this machine, whose clock must be right:\n"
    assert f"{clock_report}Redis is not available (" in imported.err
    assert clock_report not in exported.err
    assert BASE32 == parse_lines(exported.out)[0]["secret"]


def test_an_interrupted_export_is_recorded(run_otp, config, import_tokens, read_transfers):
    """The reader of the pipe ends, or a person presses Ctrl-C: what was written is written."""
    tokens = import_tokens("u-81", "u-82")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("otp_service.cli.authenticator_lines._show_progress", raise_interrupt)
        ended = run_otp("authenticators", "export", "--config", config, stdin=tokens)

    assert 130 == ended.exit_code
    assert 1 == len(parse_lines(ended.out))
    exported = [event for event in read_transfers() if event["type"] == "authenticator.exported"]
    assert [1] == [event["count"] for event in exported]


def raise_interrupt(_: int) -> None:
    raise KeyboardInterrupt


def test_the_commands_run_on_the_data_folder_of_dev(run_otp, tmp_path):
    folder = tmp_path / "dev"
    folder.mkdir()
    names = (*OTHER_RINGS, "authenticator", "api_key")
    (folder / "keys.json").write_text(json.dumps({name: f"{name[:4]:x<4}" * 11 for name in names}))
    url = f"redis://127.0.0.1:{redis_servers.find_free_port()}"
    (folder / "redis.url").write_text(url)
    (folder / "pumping.mode").write_text("record")

    ended = run_otp(
        *("authenticators", "import", "--tenant", "dev", "--config", folder),
        stdin=format_lines({"account": "u-81", "secret": BASE32}),
    )

    assert (0, 1) == (ended.exit_code, len(parse_lines(ended.out))), ended.err


# ------------------------------------------------------------------------------ documentation

DOCUMENTED_COMMAND = re.compile(
    r"^ *\$ otp-service authenticators (.*?) < (\S+)(?: > (\S+))?\n((?: *[^\s$`].*\n)+)",
    re.MULTILINE,
)


def read_documentation() -> str:
    """Return the section of the documentation that shows the commands."""
    page = Path(otp_service.__file__).parents[1] / "docs" / "authenticators.md"
    return page.read_text().split("## Moving in and out\n")[1].split("\n## ")[0]


def test_the_commands_of_the_documentation_print_what_it_shows(run_otp, config):
    """Each is run with the lines that the page shows, in its order; the last output is shown too."""
    section = read_documentation()
    first_lines, last_line = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    files = {"secrets.jsonl": first_lines}
    commands = DOCUMENTED_COMMAND.findall(section)

    for words, source, target, shown in commands:
        ended = run_otp(
            *("authenticators", *words.split(), "--config", config), stdin=files[source]
        )
        assert [line.strip() for line in shown.splitlines()] == ended.err.splitlines()
        files[target] = ended.out

    assert 3 == len(commands)
    exported = files["secrets.jsonl"].splitlines()[0]
    hidden = (r'"\d{4}-[^"]+Z"', '"<time>"')
    assert re.sub(*hidden, last_line.strip()) == re.sub(*hidden, exported)
