"""The installed program: exit codes, pipes, and never a traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest


PROGRAM = Path(sys.executable).with_name("otp-service")


def test_exit_codes_are_0_1_and_2(run_otp, monkeypatch, tmp_path):
    """0 is success, 1 a finding or a failure, 2 wrong arguments."""
    monkeypatch.chdir(tmp_path)

    codes = [run_otp(command).exit_code for command in ("--version", "check", "chekc")]

    assert [0, 1, 2] == codes


def test_a_closed_pipe_ends_a_command_quietly():
    """`otp-service openapi | head -1` ends like other programs on SIGPIPE."""
    with subprocess.Popen(
        [PROGRAM, "openapi"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        said = process.stderr.read()

    assert (141, b"") == (process.returncode, said)


def test_closed_streams_cause_no_traceback(run_otp, monkeypatch, tmp_path):
    """`otp-service unlock <&- >&-` has no input."""
    close = f'exec "{PROGRAM}" "$@" <&- >&-'
    monkeypatch.chdir(tmp_path)
    made = run_otp("init", "--country", "GB")
    environ = os.environ | {"OTP_PROVIDERS__GATEWAY__URL": "http://127.0.0.1:1/"}

    ended = subprocess.run(
        ["sh", "-c", close, "sh", "unlock"],
        cwd=tmp_path,
        env=environ,
        stderr=subprocess.PIPE,
        check=False,
    )

    assert 0 == made.exit_code
    assert 1 == ended.returncode
    assert b"no number was given" in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_an_interrupted_command_ends_with_130(tmp_path):
    """SIGINT arrives while it measures."""
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
        "opted-out",
        "why",
        "providers",
        "send-test",
    ],
)
def test_every_command_explains_itself_with_an_example(run_otp, command):
    """Its help comes from its docstring, so that all commands look alike."""
    ended = run_otp(*command.split(), "--help")

    assert (0, "") == (ended.exit_code, ended.err)
    assert f"examples:\n  otp-service {command}" in ended.out
