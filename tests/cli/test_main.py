"""The program itself, as a shell runs it: exit codes, pipes, and never a traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest


PROGRAM = Path(sys.executable).with_name("otp-service")


def run(*arguments, **options):
    """Run it to its end."""
    return subprocess.run(
        [PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False, **options
    )


def test_what_it_found_is_its_exit_code(tmp_path):
    """0, 1 for what it found, 2 for a wrong call."""
    codes = [
        run("--version").returncode,
        run("check", cwd=tmp_path).returncode,
        run("chekc").returncode,
    ]

    assert [0, 1, 2] == codes


def test_a_reader_that_has_enough_ends_it_quietly():
    """`otp-service openapi | head -1`: as other programs end on SIGPIPE."""
    with subprocess.Popen(
        [PROGRAM, "openapi"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        said = process.stderr.read()

    assert (141, b"") == (process.returncode, said)


def test_closed_streams_are_no_reason_for_a_traceback(tmp_path):
    """`otp-service unlock <&- >&-`: there is nothing to read."""
    close = f'exec "{PROGRAM}" "$@" <&- >&-'
    made = run("init", "--country", "GB", cwd=tmp_path)
    environ = os.environ | {"OTP_PROVIDERS__GATEWAY__URL": "http://127.0.0.1:1/"}

    ended = subprocess.run(
        ["sh", "-c", close, "sh", "unlock"],
        cwd=tmp_path,
        env=environ,
        stderr=subprocess.PIPE,
        check=False,
    )

    assert 0 == made.returncode
    assert 1 == ended.returncode
    assert b"no number was given" in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_an_interrupted_command_ends_like_others(tmp_path):
    """Ctrl-C while it measures."""
    with subprocess.Popen(
        [PROGRAM, "calibrate", "--seconds", "1"],
        cwd=tmp_path,
        # A shell that runs us in the background has it ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()

    assert (130, b"") == (process.returncode, said)


@pytest.mark.parametrize(
    "command",
    [
        "dev",
        "serve",
        "init",
        "key new",
        "check",
        "calibrate",
        "openapi",
        "unlock",
        "block",
        "unblock",
        "forget",
        "locked",
        "blocked",
        "providers",
        "send-test",
    ],
)
def test_every_command_explains_itself_with_an_example(run_otp, command):
    """And takes its description from one place, so that all look alike."""
    ended = run_otp(*command.split(), "--help")

    assert (0, "") == (ended.exit_code, ended.err)
    assert f"examples:\n  otp-service {command}" in ended.out
