"""`check`, `calibrate` and `openapi`: settings in force, cost of argon2, description of the API."""

import argparse
import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread

from otp_service.api import openapi
from otp_service.cli.command import CommandError, Subparsers, add_command, format_list
from otp_service.cli.common import count_cores, read_configuration, read_settings
from otp_service.cli.limit_key import scan_contents
from otp_service.cli.limit_key_report import list_errors, list_notes
from otp_service.cli.path_permissions import find_path_errors
from otp_service.cli.sealer_runner import find_sealer_errors
from otp_service.cli.secret_files import find_exposed_files
from otp_service.cli.serve import find_dev_key_errors, find_redis_errors
from otp_service.clock import now_ms
from otp_service.core import argon2_profile
from otp_service.core.argon2_profile import Argon2Profile
from otp_service.core.codes import SALT_BYTES
from otp_service.core.errors import StoreUnavailable
from otp_service.hashing import (
    Argon2Error,
    Engine,
    EngineFault,
    MeasuredEngine,
    load_engines,
    rank_engines,
)
from otp_service.settings import (
    HashRate,
    Settings,
    find_errors,
    find_ignored_variables,
    find_tolerated_errors,
    find_warnings,
    format_hours,
    format_settings,
)


CALIBRATION_ROW = (
    "{0.memory_kib:>6} KiB, {0.passes} passes, {0.lanes} lanes: {ms:>7.1f} ms, {pairs:>6.1f} logins/s, "
    "offline attack {attack}{note}"
)


def register_commands(subparsers: Subparsers) -> None:
    add_command(subparsers, "check", run_check)
    parser = add_command(subparsers, "calibrate", run_calibrate)
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each profile (2)")
    add_command(subparsers, "openapi", run_openapi, takes_config=False)


def run_check(args: argparse.Namespace) -> int:
    """Show the settings in force, and refuse unsafe ones.

    Prints every setting in force (TOML and environment together) with secrets starred,
    each with its origin if that is a default or the environment, and the time in which
    an attacker with a copy of Redis and the pepper finds a code.
    Then checks the live Redis, what is stored under each limit key (it scans all keys,
    some seconds for a million), and the archive. Nothing is changed. Each finding names
    its setting and the remedy.

    Exit code 0 if the service is safe to run, 1 if a setting, Redis or the archive is
    unsafe or cannot be read.

    examples:
      otp-service check
      otp-service check --config /etc/otp/otp.toml
    """
    configuration, now = read_configuration(args.config), now_ms()
    settings, source = configuration.settings, configuration.source
    errors = [*map(str, find_errors(settings)), *map(str, find_tolerated_errors(settings, now))]
    warnings = [*find_warnings(settings, now), *find_ignored_variables(source.environ)]
    hash_rate = None
    if not errors:
        fastest = _rank_engines(settings.hash.profile)[0]
        hash_rate = HashRate(fastest.engine.name, 1000 / fastest.hash_ms)
    print(format_settings(settings, hash_rate, source.list_origins()))
    if not any(error.startswith("redis.") for error in errors):
        errors += _check_redis(settings)
    if not any(error.startswith(("redis", "keys.")) for error in errors):
        contents = asyncio.run(scan_contents(settings))
        errors += map(str, list_errors(contents))
        warnings += list_notes(contents)
    errors += [*find_exposed_files(args.config, settings), *find_sealer_errors(settings.audit)]
    errors += [*find_path_errors(settings), *find_dev_key_errors()]
    if warnings:
        print(f"\nWorth a second look:\n{format_list(warnings)}")
    if errors:
        raise CommandError(f"{args.config} is not safe to run with:\n{format_list(errors)}")
    print("\nSafe to run: Redis answers and its settings are safe.")
    return 0


def _check_redis(settings: Settings) -> list[str]:
    try:
        return asyncio.run(find_redis_errors(settings))
    except StoreUnavailable as error:
        return [f"redis: cannot be reached: {error.cause or error}"]


def run_calibrate(args: argparse.Namespace) -> int:
    """Measure argon2 on this machine.

    Compares the installed engines with the profile in force. With the fastest one it
    measures argon2id with each row of OWASP's table and with the profile in force, and
    prints milliseconds for one hash, logins (an issue and a verify) a second on all
    cores, and the offline attack: the time in which an attacker with a copy of Redis,
    the pepper and one GPU tries all codes of six digits. Without a configuration the
    default profile is measured.

    Exit code 1 if argon2 cannot run with a profile on this machine.

    examples:
      otp-service calibrate
      otp-service calibrate --seconds 5
    """
    profile = argon2_profile.DEFAULT_PROFILE
    if args.config.exists():
        profile = read_settings(args.config).hash.profile
    engines = _rank_engines(profile)
    comparison = ", ".join(f"{each.engine.name} {each.hash_ms:.1f} ms" for each in engines)
    engine = engines[0].engine
    print(f"CPU of one hash with the profile in force: {comparison}.")
    print(
        f"{engine.name} on {count_cores()} cores, {args.seconds:g} s for each profile:\n",
        flush=True,
    )
    rows = [Argon2Profile(memory, passes, 1) for memory, passes in argon2_profile.OWASP_PROFILES]
    for row in dict.fromkeys([*rows, profile]):
        rate = _measure_hash_rate(engine, row, args.seconds / 2)
        rate_all_cores = _measure_hash_rate(engine, row, args.seconds / 2, threads=count_cores())
        figures = {"ms": 1000 / rate, "pairs": rate_all_cores / 2}
        attack = format_hours(argon2_profile.estimate_attack_hours(row, rate))
        note = ", in force" if row == profile else ""
        print(CALIBRATION_ROW.format(row, note=note, attack=attack, **figures), flush=True)
    return 0


def run_openapi(args: argparse.Namespace) -> int:  # noqa: ARG001  # a command has no options
    """Print the OpenAPI document of the API.

    It is the OpenAPI 3.1 document that the admin listener serves. The configuration is
    not read.

    examples:
      otp-service openapi > openapi.yaml
    """
    print(openapi.render_document(), end="")
    return 0


def _rank_engines(profile: Argon2Profile) -> list[MeasuredEngine]:
    """Return the engines that can be used, the fastest one first. Raises CommandError."""
    with _report_argon2_errors(profile):
        return rank_engines(profile, load_engines())


@contextmanager
def _report_argon2_errors(profile: Argon2Profile) -> Iterator[None]:
    """Raise CommandError where argon2 cannot run."""
    try:
        yield
    except (Argon2Error, EngineFault) as error:
        raise CommandError(f"argon2 cannot run with {profile} on this machine: {error}") from error


def _measure_hash_rate(
    engine: Engine, profile: Argon2Profile, seconds: float, *, threads: int = 1
) -> float:
    """Return hashes a second, with at least one hash in each thread.

    Not by an executor: where Ctrl-C interrupts the start of its threads, a lock stays taken, and the
    command never ends.
    """
    results: SimpleQueue[float | Exception] = SimpleQueue()

    def measure_thread() -> None:
        count, began = 0, time.perf_counter()
        try:
            while (elapsed := time.perf_counter() - began) < seconds or not count:
                engine.compute(profile, "000000", bytes(SALT_BYTES))
                count += 1
            results.put(count / elapsed)
        except Exception as error:  # noqa: BLE001  # it is raised where the result is awaited
            results.put(error)

    for _ in range(threads):
        Thread(target=measure_thread, daemon=True).start()
    with _report_argon2_errors(profile):
        return sum(_get_rate(results) for _ in range(threads))


def _get_rate(results: "SimpleQueue[float | Exception]") -> float:
    result = results.get()
    if isinstance(result, Exception):
        raise result
    return result
