"""`python -m bench` runs: one tiny round of every row, whose figures mean nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

import otp_service


pytestmark = pytest.mark.slow

REPOSITORY = Path(otp_service.__file__).parents[1]

CHEAP_BENCH = """
import sys

sys.modules["nacl"] = None  # one engine, so fewer services

from bench.__main__ import main
from bench.environment import CHEAPEST_HASH, BenchEnvironment

start = BenchEnvironment.start_service

def start_with_cheapest_hash(self, name, settings, *program, **more):
    return start(self, name, {**settings, **CHEAPEST_HASH}, *program, **more)

BenchEnvironment.start_service = start_with_cheapest_hash
sys.exit(main())
"""
"""The bench, without the seconds that each of its services spends on codes for a burst."""


def run_bench(rows: str) -> str:
    """Return what the bench prints."""
    tiny = ("--rounds=1", "--seconds=0.2", "--connections=2", "--workers=1", "--before=")
    burst = ("--bursts=1", "--burst-issues=10", "--live", "20", "30")
    result = subprocess.run(
        [sys.executable, "-c", CHEAP_BENCH, f"--rows={rows}", *tiny, *burst],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert 0 == result.returncode, result.stderr
    return result.stdout


def test_the_rows_of_logins_and_refusals_are_measured():
    table = run_bench("abcg")

    for text in (
        "(a) pairs, default hash: argon2-cffi wheel",
        "(a) argon2-cffi wheel to its own ceiling",
        "(b) to the bare application, by CPU",
        "(b) spread numbers to one prefix (g), by rate",
        "(c) refusals by the number's own limits",
        "(d) bare application",
        "at half load",
    ):
        assert text in table


def test_the_rows_of_bursts_and_live_challenges_are_measured():
    lines = run_bench("ef").splitlines()

    (issues,) = (line.split() for line in lines if "wheel, issues, burst 1" in line)
    levels = [line.split() for line in lines if line.strip().startswith(("20 ", "30 "))]
    assert ["10", "0"] == issues[-4:-2]
    assert 2 == len(levels)
