"""`dev`: the whole service in one process, with an embedded Redis and an inbox."""

import argparse
import asyncio
import functools
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import uvloop
from msgspec.structs import replace

from otp_service import __version__, telemetry
from otp_service.app import (
    Application,
    create_admin_app,
    create_public_app,
    hash_settings,
    run_sealer,
)
from otp_service.audit.archive_format.key_files import create_key_files
from otp_service.cli.command import CommandError, Subparsers, add_command
from otp_service.cli.common import log_fixed_codes
from otp_service.cli.greeting_text import format_greeting
from otp_service.cli.http_server import ConnectionLimits, HttpServer
from otp_service.cli.listeners import format_address, open_listener, raise_descriptor_limit
from otp_service.cli.sealer_runner import require_usable_archive
from otp_service.clock import now_ms
from otp_service.core.fixed_codes import FixedCodes
from otp_service.core.ip_address import is_ip_address, is_loopback
from otp_service.core.keys import generate_secret
from otp_service.core.policy import Policy
from otp_service.core.pumping.scopes import BrakeMode
from otp_service.core.timestamps import format_rfc3339
from otp_service.schemas import ProcessStatus, ServiceStatus
from otp_service.settings import Settings, development
from otp_service.settings.service_tables import ServiceSettings
from otp_service.store.embedded import EmbeddedServer, EmbeddedServerError


logger = logging.getLogger(__name__)

API_KEY_VARIABLE = "OTP_DEV_API_KEY"
API_KEY_PATTERN = re.compile(r"[!-~]+")

MIN_EXPOSED_KEY_CHARS = 32
"""Of the API key where others reach `dev`: 128 bits in hexadecimal digits."""

PORT_ADVICE = "Choose another address with --host and --port (or --admin-port)."


def register_commands(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "dev", run_dev, takes_config=False)
    add = parser.add_argument
    text = "address of both listeners; off loopback OTP_DEV_API_KEY is needed (127.0.0.1)"
    add("--host", default="127.0.0.1", help=text)
    text = "a name by which others call it, like a container's (repeatable)"
    add("--name", action="append", default=[], metavar="NAME", help=text)
    add("--port", type=int, default=8000, help="port of the service (8000)")
    add(
        "--admin-port", type=int, default=8001, help="port of inbox, app, audit log and docs (8001)"
    )
    add("--production-limits", action="store_true", help="keep them for fictitious numbers too")
    policy: dict[str, Any] = {"type": int, "metavar": "SECONDS"}
    cooldown, lifetime = Policy().cooldown, Policy().lifetime
    text = f"seconds between sends to a number, from 1 ({cooldown})"
    add("--cooldown", default=cooldown, help=text, **policy)
    text = f"seconds for which a code is valid, from 60 ({lifetime})"
    add("--lifetime", default=lifetime, help=text, **policy)
    text = "the code that this fictitious number always gets (repeatable)"
    add("--fixed-code", action="append", default=[], metavar="NUMBER=CODE", help=text)
    text = "what the brake on SMS pumping does to numbers that are not fictitious (record)"
    modes = [mode.value for mode in BrakeMode]
    add("--pumping", choices=modes, default=BrakeMode.RECORD.value, help=text)
    data = Path(".otp")
    add("--data", type=Path, default=data, help="folder for Redis, keys and archive (.otp)")


def run_dev(args: argparse.Namespace) -> int:
    """Run everything for development, with an inbox instead of a phone.

    Starts the service with an embedded Redis, prints its addresses and an API key, and
    runs until SIGINT or SIGTERM. No message is sent. The environment variable
    OTP_DEV_API_KEY sets the API key of the tenant 'dev'; without it a key is generated
    and stored in the data folder.

    It listens on loopback. With --host, as in a container, others reach it: then
    OTP_DEV_API_KEY must have 32 characters or more, and the inbox needs it too.

    For fictitious numbers, like +447700900123, every limit but the cooldown admits a
    thousand times as much as in production, so that tests are not refused. A start
    empties the limits, the cooldown excepted, and the inbox; challenges survive it.

    With --fixed-code a fictitious number gets the same code each time, for a test that
    cannot read the inbox.

    Exit code 1 if it cannot start, for example because a port is in use.

    examples:
      otp-service dev
      otp-service dev --port 9000 --admin-port 9001
      otp-service dev --cooldown 1 --fixed-code +447700900555=123456
      OTP_DEV_API_KEY=secret otp-service dev --data /tmp/otp
    """
    api_key = os.environ.get(API_KEY_VARIABLE)
    options = parse_run_options(args)
    if remedy := find_exposure_error(args.host, api_key):
        raise CommandError(remedy)
    telemetry.configure_logging("info", sys.stderr)
    raise_descriptor_limit()
    if args.data.exists() and not args.data.is_dir():
        raise CommandError(f"--data {args.data} is a file: name a folder, which dev creates.")
    try:
        with EmbeddedServer(args.data) as redis:
            _prepare_folder(args.data, redis.url, options.brake_mode)
            settings, key = _create_settings(args, options, redis.url, api_key)
            uvloop.run(_serve_applications(settings, args.data, key))
    except EmbeddedServerError as error:
        raise CommandError(str(error)) from error
    return 0


def parse_run_options(args: argparse.Namespace) -> development.DevOptions:
    """Return the options that change settings. Raises CommandError."""
    policy = Policy(cooldown=args.cooldown, lifetime=args.lifetime)
    for field, remedy in policy.find_errors():
        raise CommandError(f"--{field} {remedy}.")
    fixed_codes = _parse_fixed_codes(args.fixed_code)
    for error in fixed_codes.find_errors(policy.digits):
        raise CommandError(f"--fixed-code: {error}.")
    mode = BrakeMode(args.pumping)
    return development.DevOptions(not args.production_limits, policy, fixed_codes, mode)


def _parse_fixed_codes(texts: Iterable[str]) -> FixedCodes:
    """Return the codes of texts like +447700900123=123456. Raises CommandError; it repeats none of them."""
    pairs = [text.partition("=") for text in texts]
    if not all(equals for _, equals, _ in pairs):
        raise CommandError("--fixed-code: write a number and its code, like +447700900123=123456.")
    codes = {number: code for number, _, code in pairs}
    if len(codes) < len(pairs):
        raise CommandError("--fixed-code: names a number twice. A number has one code.")
    return FixedCodes(codes)


def find_exposure_error(host: str, api_key: str | None) -> str | None:
    """Return why `dev` does not listen on an address with this API key, with the remedy."""
    if api_key is not None and not API_KEY_PATTERN.fullmatch(api_key):
        return f"{API_KEY_VARIABLE} must be one or more visible ASCII characters."
    if is_loopback(host):
        return None
    if not is_ip_address(host):
        return (
            f"dev listens on a loopback address only, or on an address like 0.0.0.0, not on {host}."
        )
    if api_key is None or len(api_key) < MIN_EXPOSED_KEY_CHARS:
        return (
            f"dev listens on a loopback address only, not on {host}, unless {API_KEY_VARIABLE} has "
            f"{MIN_EXPOSED_KEY_CHARS} characters or more, like those of 'openssl rand -hex 16': others "
            "could read every code."
        )
    return None


def _prepare_folder(folder: Path, redis_url: str, mode: BrakeMode) -> None:
    """Write what commands with `--config FOLDER` need of this run, and the signing key."""
    (folder / development.REDIS_URL_FILE).write_text(redis_url, encoding="utf-8")
    (folder / development.BRAKE_MODE_FILE).write_text(mode, encoding="utf-8")
    if not (key := development.get_dev_signing_key_path(folder)).exists():
        create_key_files(key)


def _create_settings(
    args: argparse.Namespace,
    options: development.DevOptions,
    redis_url: str,
    api_key: str | None,
) -> tuple[Settings, str]:
    """Return the settings of this run, and the API key in force: the given one, or that of the folder."""
    generate_token = functools.partial(generate_secret, os.urandom)
    secret_values = development.ensure_dev_secrets(args.data, api_key, generate_token)
    service = ServiceSettings(
        host=args.host,
        port=args.port,
        admin_host=args.host,
        admin_port=args.admin_port,
        admin_hosts=tuple(args.name),
    )
    audit = development.create_dev_audit(args.data)
    settings = development.create_dev_settings(service, redis_url, secret_values, audit, options)
    return settings, secret_values["api_key"]


async def _serve_applications(settings: Settings, folder: Path, api_key: str) -> None:
    """Serve until SIGINT or SIGTERM; `folder` has the data."""
    require_usable_archive(settings)
    service = settings.service
    public = open_listener(service.host, service.port, advice=PORT_ADVICE)
    admin = open_listener(service.admin_host, service.admin_port, advice=PORT_ADVICE)
    settings = _set_bound_ports(settings, public, admin)
    stop, stop_sealer = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Application(settings) as app:
        await app.begin_development()
        servers = _create_servers(app, folder, public, admin)
        logger.info("starting", extra={"fields": describe_start(settings, public, admin)})
        log_fixed_codes(settings)
        for server in servers:
            server.start()
        print(format_greeting(folder, public, admin, api_key), flush=True)
        sealer = asyncio.create_task(run_sealer(settings, stop_sealer))
        await stop.wait()
        for listener in (public, admin):
            listener.close()
        await asyncio.gather(*(server.stop(service.drain_seconds) for server in servers))
    stop_sealer.set()  # after the application: its last events are written as it stops
    await sealer


def _set_bound_ports(settings: Settings, public: socket.socket, admin: socket.socket) -> Settings:
    """Return the settings with the ports of the listeners: port 0 let the system choose one."""
    ports = {"port": public.getsockname()[1], "admin_port": admin.getsockname()[1]}
    return replace(settings, service=replace(settings.service, **ports))


def _create_servers(
    app: Application, folder: Path, public: socket.socket, admin: socket.socket
) -> tuple[HttpServer, HttpServer]:
    """Return the servers of the two listeners, which do not run yet."""
    read_status = functools.partial(build_dev_status, app.settings, folder, now_ms())
    service = app.settings.service
    limits, admin_limits = (
        ConnectionLimits.from_settings(service),
        ConnectionLimits.for_admin(service),
    )
    return (
        HttpServer(create_public_app(app), public, limits, app.metrics),
        HttpServer(create_admin_app(app, read_status), admin, admin_limits),
    )


def describe_start(
    settings: Settings, public: socket.socket, admin: socket.socket
) -> dict[str, str]:
    """Return the fields of the log line of a start: version, mode and addresses."""
    return {
        "version": __version__,
        "mode": settings.mode,
        "address": format_address(public),
        "admin_address": format_address(admin),
    }


def build_dev_status(settings: Settings, folder: Path, started_at: int) -> ServiceStatus:
    """Return the status of `dev`, which is one process with one configuration."""
    started, configuration = format_rfc3339(started_at), hash_settings(settings)
    process = ProcessStatus(
        role="dev",
        pid=os.getpid(),
        configuration=configuration,
        started_at=started,
        state="serving",
        ready=True,
    )
    return ServiceStatus(
        version=__version__,
        mode=settings.mode,
        configuration=configuration,
        configuration_file=str(folder.resolve()),
        started_at=started,
        reload_refused=False,
        processes=[process],
        problems=[],
    )
