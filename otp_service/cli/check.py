"""`check`, `calibrate` and `openapi`: what is in force, what it costs, and what is served."""

import argparse
import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from argon2.exceptions import HashingError

from otp_service.api import openapi
from otp_service.cli.command import CommandError, Subparsers, command, listed
from otp_service.cli.common import cores, read_settings
from otp_service.cli.sealer_runner import unusable
from otp_service.cli.serve import unfit
from otp_service.core.argon2_profile import DEFAULT, OWASP, Profile, thief_hours
from otp_service.core.codes import SALT_BYTES
from otp_service.core.errors import StoreUnavailable
from otp_service.hashing import argon2id
from otp_service.settings import Settings, faults, report, warnings


ROW = (
    "{0.memory_kib:>6} KiB, {0.passes} passes, {0.lanes} lanes: {ms:>7.1f} ms, {pairs:>6.1f} logins/s, "
    "a thief's hours {hours:.3g}{note}"
)


def add(subparsers: Subparsers) -> None:
    """Describe the commands."""
    command(subparsers, "check", check)
    parser = command(subparsers, "calibrate", calibrate)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each profile (2)")
    command(subparsers, "openapi", print_openapi, config=False)


def check(known: argparse.Namespace) -> int:
    """Say what is in force, and refuse what is unsafe.

    Shows every setting in force (TOML and environment together) with secrets starred,
    what a thief of Redis and pepper would need, and what the live Redis is like. Exit
    code 1 if anything is unsafe; each finding names its setting and the remedy.

    examples:
      otp-service check --config otp.toml
    """
    settings, now = read_settings(known.config), time.time_ns() // 1_000_000
    refused, unwise = [*map(str, faults(settings, now))], [*warnings(settings, now)]
    speed = None if refused else _speed(settings.hash.profile, 1.0)
    print(report(settings, speed))
    if not any(fault.startswith("redis.") for fault in refused):
        refused += _redis_faults(settings)
    refused += unusable(settings.audit)
    if unwise:
        print(f"\nWorth a second look:\n{listed(unwise)}")
    if refused:
        raise CommandError(f"{known.config} is not safe to run with:\n{listed(refused)}")
    print("\nSafe to run: Redis answers, and is fit.")
    return 0


def _redis_faults(settings: Settings) -> list[str]:
    try:
        return asyncio.run(unfit(settings))
    except StoreUnavailable as error:
        return [f"redis: cannot be reached: {error.__cause__ or error}"]


def calibrate(known: argparse.Namespace) -> int:
    """Measure argon2 on this machine.

    Measures argon2id with each row of OWASP's table and with the profile in force: ms
    for one hash, logins (an issue and a verify) a second on all cores, and the hours
    in which a thief of Redis and pepper, with one GPU, tries all codes of six digits.

    examples:
      otp-service calibrate --seconds 5
    """
    profile = read_settings(known.config).hash.profile if known.config.exists() else DEFAULT
    print(f"argon2id on {cores()} cores, {known.seconds:g} s for each profile:\n", flush=True)
    rows = [Profile(memory, passes, 1) for memory, passes in OWASP]
    for row in dict.fromkeys([*rows, profile]):
        alone = _speed(row, known.seconds / 2)
        together = _speed(row, known.seconds / 2, threads=cores())
        hours = thief_hours(row, alone)
        note = ", in force" if row == profile else ""
        print(
            ROW.format(row, ms=1000 / alone, pairs=together / 2, hours=hours, note=note), flush=True
        )
    return 0


def print_openapi(known: argparse.Namespace) -> int:  # noqa: ARG001  # it takes no options
    """Print the description of the API.

    This is its OpenAPI 3.1 document, as it is served.

    examples:
      otp-service openapi > openapi.yaml
    """
    print(openapi.text(), end="")
    return 0


def _speed(profile: Profile, seconds: float, *, threads: int = 1) -> float:
    """Return how many hashes are made a second."""

    def work(_: int) -> float:
        made, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < seconds or not made:
            argon2id(profile, "000000", bytes(SALT_BYTES))
            made += 1
        return made / took

    try:
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(work, range(threads)))
    except HashingError as error:
        raise CommandError(f"argon2 cannot run with {profile} on this machine: {error}") from error
