"""`otp-service dev`: everything in one process, with a Redis and an inbox of its own."""

import argparse
import asyncio
import logging
import os
import re
import secrets
import shlex
import sys
from pathlib import Path

import uvloop

from otp_service import telemetry
from otp_service.app import Application, create_admin_app, create_public_app, run_sealer
from otp_service.audit.archive_format.key_files import create_key_files, derive_public_path
from otp_service.cli.command import CommandError, Subparsers, add_command
from otp_service.cli.sealer_runner import require_usable_archive
from otp_service.cli.uvicorn_servers import (
    create_uvicorn_config,
    format_address,
    open_listener,
    serve_until_stopped,
)
from otp_service.core.ip_address import is_loopback
from otp_service.settings.development import (
    REDIS_URL_FILE,
    create_dev_audit,
    create_dev_settings,
    ensure_dev_secrets,
    get_dev_signing_key_path,
)
from otp_service.settings.model import ServiceSettings
from otp_service.store.embedded import EmbeddedServer, EmbeddedServerError


API_KEY_VARIABLE = "OTP_DEV_API_KEY"
API_KEY_PATTERN = re.compile(r"[!-~]+")

GREETING = """\
otp-service is ready for development. Nothing leaves this machine.

  service  http://{public}
  inbox    http://{admin}/inbox     the messages, instead of a phone
  audit    http://{admin}/audit     what happened, with the API key
  docs     http://{admin}/docs
  data     {data}
  archive  {archive}     every event, sealed
  API key  {key}

Issue a first challenge (paste this into another terminal):

  curl -s http://{public}/v1/challenges -H 'Authorization: Bearer {key}' \
-H 'Content-Type: application/json' -d '{{"phone_number": "+447700900123"}}'

Then look into the inbox, and into what the log says of it:

  {program} audit stats --config {data}
  {program} audit verify {archive} --public-key {public_key}

Stop this with Ctrl-C. Challenges survive a restart."""


def register_commands(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = add_command(subparsers, "dev", run_dev, takes_config=False)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="of the service (8000)")
    parser.add_argument("--admin-port", type=int, default=8001, help="of inbox and docs (8001)")
    parser.add_argument(
        "--data", type=Path, default=Path(".otp"), help="folder for Redis and keys (.otp)"
    )


def run_dev(args: argparse.Namespace) -> int:
    """Start everything for development, with an inbox instead of a phone.

    Starts the service with an embedded Redis on loopback only, and stays until a
    signal comes. OTP_DEV_API_KEY sets the API key of the tenant 'dev'; without it one
    is made and kept in the data folder.

    examples:
      otp-service dev --port 9000
    """
    if not is_loopback(args.host):
        raise CommandError(f"dev listens on loopback only, and {args.host} is not. Use 'serve'.")
    api_key = os.environ.get(API_KEY_VARIABLE)
    if api_key is not None and not API_KEY_PATTERN.fullmatch(api_key):
        raise CommandError(f"{API_KEY_VARIABLE} has to be visible ASCII characters, at least one.")
    telemetry.configure_logging("info", sys.stderr)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    try:
        with EmbeddedServer(args.data) as redis:
            _prepare_folder(args.data, redis.url)
            uvloop.run(_serve_applications(args, redis.url, api_key))
    except EmbeddedServerError as error:
        raise CommandError(str(error)) from error
    return 0


def _describe_program() -> str:
    """Return how this program is called here, to be pasted."""
    called = Path(sys.argv[0])
    return f"{sys.executable} -m otp_service" if called.suffix else shlex.quote(str(called))


def _prepare_folder(folder: Path, redis_url: str) -> None:
    """Leave what commands need that look at this `dev`, and the key of its archive."""
    (folder / REDIS_URL_FILE).write_text(redis_url, encoding="utf-8")
    if not (key := get_dev_signing_key_path(folder)).exists():
        create_key_files(key)


async def _serve_applications(
    args: argparse.Namespace, redis_url: str, api_key: str | None
) -> None:
    kept = ensure_dev_secrets(args.data, api_key, lambda: secrets.token_urlsafe(32))
    service = ServiceSettings(host=args.host, port=args.port, admin_port=args.admin_port)
    settings = create_dev_settings(service, redis_url, kept, create_dev_audit(args.data))
    require_usable_archive(settings)
    public = open_listener(args.host, args.port)
    admin = open_listener(args.host, args.admin_port)
    async with Application(settings, is_dev=True) as app:
        stop, over = asyncio.Event(), asyncio.Event()
        servers = [
            (create_uvicorn_config(create_public_app(app), service.drain_seconds), public),
            (create_uvicorn_config(create_admin_app(app), service.drain_seconds), admin),
        ]
        print(
            GREETING.format(
                public=format_address(public),
                admin=format_address(admin),
                data=args.data.resolve(),
                archive=args.data.resolve() / "archive",
                public_key=derive_public_path(get_dev_signing_key_path(args.data.resolve())),
                program=_describe_program(),
                key=kept["api_key"],
            ),
            flush=True,
        )
        sealing = asyncio.create_task(run_sealer(settings, over))
        await serve_until_stopped(servers, stop)
    over.set()  # the last events are those of the end
    await sealing
