"""`check`, `calibrate` and `openapi`: what is in force, what it costs, and what is served."""

import argparse
import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from argon2.exceptions import HashingError

from otp_service.api import openapi
from otp_service.app import link_of
from otp_service.cli.config import add_option, cores, read_settings
from otp_service.cli.console import Subparsers, command, listed
from otp_service.cli.errors import CommandError
from otp_service.core.codes import SALT_BYTES
from otp_service.core.errors import StoreUnavailable
from otp_service.core.profile import DEFAULT, OWASP, Profile, thief_hours
from otp_service.hashing import argon2id
from otp_service.settings import Settings, faults, report, warnings
from otp_service.store import health


Line = tuple[str, str]

TITLES = ("memory KiB", "passes", "lanes", "ms", "logins/s", "thief's hours")
COLUMNS = "{:>10}  {:>6}  {:>5}  {:>8}  {:>8}  {:>13}  {}"


def add(subparsers: Subparsers) -> None:
    """Describe the commands."""
    parser = command(
        subparsers,
        "check",
        check,
        brief="say what is in force, and refuse what is unsafe",
        about=(
            "Shows every setting in force (TOML and environment together) with secrets starred, "
            "what a thief of Redis and pepper would need, and what the live Redis is like. Exit "
            "code 1 if anything is unsafe; each finding names its setting and the remedy."
        ),
        examples=("otp-service check --config otp.toml", "otp-service check --offline"),
    )
    add_option(parser)
    parser.add_argument("--offline", action="store_true", help="do not look at Redis")
    parser = command(
        subparsers,
        "calibrate",
        calibrate,
        brief="measure argon2 on this machine",
        about=(
            "Measures argon2id with each row of OWASP's table and with the profile in force: ms "
            "for one hash, logins (an issue and a verify) a second on all cores, and the hours "
            "in which a thief of Redis and pepper, with one GPU, tries all codes of one "
            "challenge."
        ),
        examples=("otp-service calibrate --seconds 5",),
    )
    add_option(parser)
    parser.add_argument(
        "--seconds", type=_seconds, default=2.0, help="to measure each profile for (2)"
    )
    parser = command(
        subparsers,
        "openapi",
        print_openapi,
        brief="print the description of the API",
        about="Prints the OpenAPI 3.1 document of the API, as it is served.",
        examples=("otp-service openapi --output openapi.yaml",),
    )
    parser.add_argument("--output", type=Path, help="file to write (standard output)")


def check(known: argparse.Namespace) -> int:
    """Show all that is known; CommandError if the service must not be run so."""
    settings, now = read_settings(known.config), time.time_ns() // 1_000_000
    refused, unwise = faults(settings, now), warnings(settings, now)
    speed = None if refused else _speed(settings.hash.profile, 1.0)
    asks = not (known.offline or any(fault.setting.startswith("redis") for fault in refused))
    seen = asyncio.run(_look(settings)) if asks else []
    fit = [("redis", "answers, and is fit")] if asks else []
    print(report(settings, store=seen or fit, hashes_per_second=speed))
    if unwise:
        print(f"\nWorth a second look:\n{listed(unwise)}")
    if refused or seen:
        told = [*map(str, refused), *(f"{setting}: {remedy}" for setting, remedy in seen)]
        raise CommandError(f"{known.config} is not safe to run with:\n{listed(told)}")
    print("\nSafe to run." if asks else "\nSafe to run, if Redis is.")
    return 0


def calibrate(known: argparse.Namespace) -> int:
    """Print a row as soon as it is measured."""
    profile, digits = DEFAULT, 6
    if known.config.exists():
        settings = read_settings(known.config)
        profile, digits = settings.hash.profile, settings.policy.digits
    print(f"argon2id on {cores()} cores, {known.seconds:g} s for each profile:\n")
    print(COLUMNS.format(*TITLES, "").rstrip(), flush=True)
    rows = [Profile(memory, passes, 1) for memory, passes in OWASP]
    for row in dict.fromkeys([*rows, profile]):
        note = "in force" if row == profile else ""
        measured = _measured(row, known.seconds / 2, digits)
        line = COLUMNS.format(row.memory_kib, row.passes, row.lanes, *measured, note)
        print(line.rstrip(), flush=True)
    return 0


def print_openapi(known: argparse.Namespace) -> int:
    """Print the document, or write it."""
    if known.output is None:
        print(openapi.text(), end="")
        return 0
    try:
        known.output.write_text(openapi.text(), encoding="utf-8")
    except OSError as error:
        raise CommandError(f"cannot write {known.output}: {error.strerror}.") from error
    return 0


async def _look(settings: Settings) -> list[Line]:
    """Return what is wrong with the live Redis."""
    try:
        async with link_of(settings) as link:
            return await health.faults(link, maximum=settings.events.maximum)
    except StoreUnavailable as error:
        return [("redis", f"cannot be reached: {error.__cause__ or error}")]


def _measured(profile: Profile, seconds: float, digits: int) -> Iterator[str]:
    """Give ms a hash, logins a second, and the thief's hours; dashes where argon2 cannot."""
    alone, together = _speed(profile, seconds), _speed(profile, seconds, threads=cores())
    if alone is None or together is None:
        yield from "---"
        return
    yield f"{1000 / alone:.1f}"
    yield f"{together / 2:.1f}"
    yield f"{thief_hours(profile, alone, digits=digits):.3g}"


def _speed(profile: Profile, seconds: float, *, threads: int = 1) -> float | None:
    """Return how many hashes are made a second; None if there is no memory for them."""

    def work(_: int) -> float:
        made, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < seconds or not made:
            argon2id(profile, "000000", bytes(SALT_BYTES))
            made += 1
        return made / took

    try:
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(work, range(threads)))
    except HashingError:
        return None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 60:  # noqa: PLR2004
        raise argparse.ArgumentTypeError("write seconds, more than 0 and at most 60")
    return seconds
