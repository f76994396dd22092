"""`serve`: the service for production, with several workers and one admin listener.

The supervisor restarts workers that end, replaces all of them on SIGHUP (so keys and settings are
rotated), and stops them on SIGTERM: requests in flight finish, and no connection is accepted. The
admin listener runs in the supervisor's process and serves the metrics of all workers.
"""

import argparse
import asyncio
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from otp_service import __version__, telemetry
from otp_service.app import create_client, hash_settings
from otp_service.cli.command import CommandError, Subparsers, add_command, format_list
from otp_service.cli.common import Configuration, log_fixed_codes, read_safe_configuration
from otp_service.cli.dev import API_KEY_VARIABLE
from otp_service.cli.helper_threads import AdminThread, HelperThreads
from otp_service.cli.listeners import format_address, open_listener, raise_descriptor_limit
from otp_service.cli.path_permissions import find_path_errors
from otp_service.cli.sealer_runner import require_usable_archive
from otp_service.cli.secret_files import find_exposed_files
from otp_service.cli.slot_listeners import PORT_ADVICE, SlotListeners
from otp_service.cli.status_report import build_status
from otp_service.cli.supervisor import Supervisor
from otp_service.clock import now_ms
from otp_service.core.errors import StoreUnavailable
from otp_service.schemas import ServiceStatus
from otp_service.settings import Settings, find_ignored_variables, find_tolerated_errors
from otp_service.store import health
from otp_service.store.mode_mark import claim_mode, find_mode_issues


logger = logging.getLogger(__name__)


def register_commands(subparsers: Subparsers) -> None:
    add_command(subparsers, "serve", run_serve)


def run_serve(args: argparse.Namespace) -> int:
    """Run the service for production.

    Starts the workers, the admin listener and, with [audit] seal = 'serve', the sealer.
    Logs to standard output, one JSON object a line. SIGHUP reads the settings again and
    replaces the workers one by one; SIGTERM and SIGINT finish the requests in flight,
    for at most service.drain_seconds, and stop.

    Exit code 1 if the settings, Redis or the archive are not safe to run with, or an
    address is in use.

    examples:
      otp-service serve
      otp-service serve --config /etc/otp/otp.toml
    """
    for text in find_dev_key_errors():
        raise CommandError(text)
    configuration = read_safe_configuration(args.config.resolve())
    settings = configuration.settings
    telemetry.configure_logging(settings.service.log_level, sys.stdout)
    log_tolerated_issues(configuration.path, settings)
    log_fixed_codes(settings)
    _require_safe_redis(settings)
    require_usable_archive(settings)
    raise_descriptor_limit()
    with telemetry.share_metrics_folder():
        _run_supervisor(configuration)
    return 0


def _run_supervisor(configuration: Configuration) -> None:
    service = configuration.settings.service
    listeners = SlotListeners(service.host, service.port, service.workers)
    admin_listener = open_listener(service.admin_host, service.admin_port, advice=PORT_ADVICE)

    def read_status() -> ServiceStatus:
        return build_status(supervisor, helpers)

    def read_next(path: Path) -> Configuration:
        following = _read_usable_configuration(path)
        require_same_mode(configuration.settings, following.settings)
        require_redis_of_mode(following.settings)
        return following

    helpers = HelperThreads(AdminThread(admin_listener, read_status))
    supervisor = Supervisor(configuration, listeners, helpers, read_configuration=read_next)
    fields = {
        "version": __version__,
        "address": format_address(listeners[0]),
        "admin_address": format_address(admin_listener),
        "configuration": hash_settings(configuration.settings),
        "configuration_file": str(configuration.path),
        "mode": configuration.settings.mode,
    }
    logger.info("starting", extra={"fields": fields})
    with admin_listener:  # each admin thread leaves it open for the next one
        asyncio.run(supervisor.run())


def _read_usable_configuration(path: Path) -> Configuration:
    """Return the configuration for a reload. Raises CommandError if it cannot be used."""
    configuration = read_safe_configuration(path)
    require_usable_archive(configuration.settings)
    log_tolerated_issues(path, configuration.settings)
    log_fixed_codes(configuration.settings)
    return configuration


def find_dev_key_errors() -> list[str]:
    """Return an error if the environment has the API key of `dev`, which is no secret."""
    if API_KEY_VARIABLE not in os.environ:
        return []
    return [f"{API_KEY_VARIABLE} is only for 'dev'. Unset it, and use [[tenants.NAME.keys]]."]


def require_same_mode(before: Settings, after: Settings) -> None:
    """Raise CommandError if a reload would change the mode: the Redis belongs to one mode."""
    if before.mode != after.mode:
        raise CommandError(
            f"mode: a reload cannot change it from '{before.mode}' to '{after.mode}': start another "
            "service, with a Redis of its own"
        )


def require_redis_of_mode(settings: Settings) -> None:
    """Raise CommandError if a reload names a Redis of another mode.

    Nothing else is checked: a reload that replaces a stolen key must not depend on it. The monitor checks
    a Redis that is away now.
    """
    with suppress(StoreUnavailable):
        if errors := asyncio.run(_find_mode_errors(settings)):
            raise CommandError(format_list(errors))


async def _find_mode_errors(settings: Settings) -> list[str]:
    async with create_client(settings) as client:
        issues = await find_mode_issues(client, settings.mode)
    return [f"{setting}: {remedy}" for setting, remedy in issues]


async def find_redis_errors(settings: Settings) -> list[str]:
    """Return what makes the live Redis unsafe. Raises StoreUnavailable."""
    async with create_client(settings) as client:
        issues = await health.find_issues(client, max_stream_entries=settings.events.maximum)
        if not issues:
            issues = await find_mode_issues(client, settings.mode)
    return [f"{setting}: {remedy}" for setting, remedy in issues]


def log_tolerated_issues(config: Path, settings: Settings) -> None:
    """Log what `check` refuses and the service runs with."""
    exposed, paths = find_exposed_files(config, settings), find_path_errors(settings)
    for issue in (*find_tolerated_errors(settings, now_ms()), *exposed, *paths):
        logger.warning("unsafe, and 'otp-service check' refuses it: %s", issue)
    for variable in find_ignored_variables(os.environ):
        logger.warning("%s", variable)


def _require_safe_redis(settings: Settings) -> None:
    """Raise CommandError for a Redis that could lose limits; an unavailable one may start later."""
    try:
        errors = asyncio.run(find_redis_errors(settings)) or asyncio.run(mark_redis(settings))
    except StoreUnavailable:
        logger.warning("Redis does not answer; every request is 503 until it does")
    else:
        if errors:
            raise CommandError(f"Redis is not safe to run with:\n{format_list(errors)}")


async def mark_redis(settings: Settings) -> list[str]:
    """Mark the Redis with the mode; return an error if a service of another mode was faster."""
    async with create_client(settings) as client:
        issues = await claim_mode(client, settings.mode)
    return [f"{setting}: {remedy}" for setting, remedy in issues]
