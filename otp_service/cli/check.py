"""`check`, `calibrate` and `openapi`: what is in force, what it costs, and what is served."""

import argparse
import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from argon2.exceptions import HashingError

from otp_service.api import openapi
from otp_service.cli.command import CommandError, Subparsers, add_command, format_list
from otp_service.cli.common import count_cores, read_settings
from otp_service.cli.sealer_runner import find_sealer_errors
from otp_service.cli.serve import find_redis_errors
from otp_service.clock import now_ms
from otp_service.core.argon2_profile import (
    DEFAULT_PROFILE,
    OWASP_PROFILES,
    Argon2Profile,
    estimate_attack_hours,
)
from otp_service.core.codes import SALT_BYTES
from otp_service.core.errors import StoreUnavailable
from otp_service.hashing import compute_argon2id
from otp_service.settings import Settings, find_errors, find_warnings, format_settings


CALIBRATION_ROW = (
    "{0.memory_kib:>6} KiB, {0.passes} passes, {0.lanes} lanes: {ms:>7.1f} ms, {pairs:>6.1f} logins/s, "
    "attacker hours {hours:.3g}{note}"
)


def register_commands(subparsers: Subparsers) -> None:
    """Describe the commands."""
    add_command(subparsers, "check", run_check)
    parser = add_command(subparsers, "calibrate", run_calibrate)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each profile (2)")
    add_command(subparsers, "openapi", run_openapi, takes_config=False)


def run_check(args: argparse.Namespace) -> int:
    """Say what is in force, and refuse what is unsafe.

    Shows every setting in force (TOML and environment together) with secrets starred,
    what a thief of Redis and pepper would need, and what the live Redis is like. Exit
    code 1 if anything is unsafe; each finding names its setting and the remedy.

    examples:
      otp-service check --config otp.toml
    """
    settings, now = read_settings(args.config), now_ms()
    refused, unwise = [*map(str, find_errors(settings, now))], [*find_warnings(settings, now)]
    speed = None if refused else _measure_hash_rate(settings.hash.profile, 1.0)
    print(format_settings(settings, speed))
    if not any(fault.startswith("redis.") for fault in refused):
        refused += _check_redis(settings)
    refused += find_sealer_errors(settings.audit)
    if unwise:
        print(f"\nWorth a second look:\n{format_list(unwise)}")
    if refused:
        raise CommandError(f"{args.config} is not safe to run with:\n{format_list(refused)}")
    print("\nSafe to run: Redis answers, and is fit.")
    return 0


def _check_redis(settings: Settings) -> list[str]:
    try:
        return asyncio.run(find_redis_errors(settings))
    except StoreUnavailable as error:
        return [f"redis: cannot be reached: {error.__cause__ or error}"]


def run_calibrate(args: argparse.Namespace) -> int:
    """Measure argon2 on this machine.

    Measures argon2id with each row of OWASP's table and with the profile in force: ms
    for one hash, logins (an issue and a verify) a second on all cores, and the hours
    in which a thief of Redis and pepper, with one GPU, tries all codes of six digits.

    examples:
      otp-service calibrate --seconds 5
    """
    profile = read_settings(args.config).hash.profile if args.config.exists() else DEFAULT_PROFILE
    print(f"argon2id on {count_cores()} cores, {args.seconds:g} s for each profile:\n", flush=True)
    rows = [Argon2Profile(memory, passes, 1) for memory, passes in OWASP_PROFILES]
    for row in dict.fromkeys([*rows, profile]):
        alone = _measure_hash_rate(row, args.seconds / 2)
        together = _measure_hash_rate(row, args.seconds / 2, threads=count_cores())
        hours = estimate_attack_hours(row, alone)
        note = ", in force" if row == profile else ""
        print(
            CALIBRATION_ROW.format(
                row, ms=1000 / alone, pairs=together / 2, hours=hours, note=note
            ),
            flush=True,
        )
    return 0


def run_openapi(args: argparse.Namespace) -> int:  # noqa: ARG001  # it takes no options
    """Print the description of the API.

    This is its OpenAPI 3.1 document, as it is served.

    examples:
      otp-service openapi > openapi.yaml
    """
    print(openapi.render_document(), end="")
    return 0


def _measure_hash_rate(profile: Argon2Profile, seconds: float, *, threads: int = 1) -> float:
    """Return how many hashes are made a second."""

    def measure_thread(_: int) -> float:
        made, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < seconds or not made:
            compute_argon2id(profile, "000000", bytes(SALT_BYTES))
            made += 1
        return made / took

    try:
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(measure_thread, range(threads)))
    except HashingError as error:
        raise CommandError(f"argon2 cannot run with {profile} on this machine: {error}") from error
