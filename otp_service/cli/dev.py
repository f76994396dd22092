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
from otp_service.app import Application, admin_door, public_door, seal
from otp_service.audit.archive_format.key_files import public_path, write_key
from otp_service.cli.command import CommandError, Subparsers, command
from otp_service.cli.sealer_runner import refuse_unusable
from otp_service.cli.uvicorn_servers import address_of, config_for, listen, serve_until_stopped
from otp_service.core.ip_address import is_loopback
from otp_service.settings.dev import REDIS, dev_audit, dev_secrets, dev_settings, dev_signing_key
from otp_service.settings.model import Service
from otp_service.store.embedded import EmbeddedError, EmbeddedServer


API_KEY = "OTP_DEV_API_KEY"
KEY = re.compile(r"[!-~]+")

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


def add(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = command(subparsers, "dev", run, config=False)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="of the service (8000)")
    parser.add_argument("--admin-port", type=int, default=8001, help="of inbox and docs (8001)")
    parser.add_argument(
        "--data", type=Path, default=Path(".otp"), help="folder for Redis and keys (.otp)"
    )


def run(known: argparse.Namespace) -> int:
    """Start everything for development, with an inbox instead of a phone.

    Starts the service with an embedded Redis on loopback only, and stays until a
    signal comes. OTP_DEV_API_KEY sets the API key of the tenant 'dev'; without it one
    is made and kept in the data folder.

    examples:
      otp-service dev --port 9000
    """
    if not is_loopback(known.host):
        raise CommandError(f"dev listens on loopback only, and {known.host} is not. Use 'serve'.")
    api_key = os.environ.get(API_KEY)
    if api_key is not None and not KEY.fullmatch(api_key):
        raise CommandError(f"{API_KEY} has to be visible ASCII characters, at least one.")
    telemetry.configure_logging("info", sys.stderr)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    try:
        with EmbeddedServer(known.data) as redis:
            _furnish(known.data, redis.url)
            uvloop.run(_serve(known, redis.url, api_key))
    except EmbeddedError as error:
        raise CommandError(str(error)) from error
    return 0


def _program() -> str:
    """Return how this program is called here, to be pasted."""
    called = Path(sys.argv[0])
    return f"{sys.executable} -m otp_service" if called.suffix else shlex.quote(str(called))


def _furnish(folder: Path, redis_url: str) -> None:
    """Leave what commands need that look at this `dev`, and the key of its archive."""
    (folder / REDIS).write_text(redis_url, encoding="utf-8")
    if not (key := dev_signing_key(folder)).exists():
        write_key(key)


async def _serve(known: argparse.Namespace, redis_url: str, api_key: str | None) -> None:
    kept = dev_secrets(known.data, api_key, lambda: secrets.token_urlsafe(32))
    service = Service(host=known.host, port=known.port, admin_port=known.admin_port)
    settings = dev_settings(service, redis_url, kept, dev_audit(known.data))
    refuse_unusable(settings)
    public = listen(known.host, known.port)
    admin = listen(known.host, known.admin_port)
    async with Application(settings, is_dev=True) as app:
        stop, over = asyncio.Event(), asyncio.Event()
        servers = [
            (config_for(public_door(app), service.drain_seconds), public),
            (config_for(admin_door(app), service.drain_seconds), admin),
        ]
        print(
            GREETING.format(
                public=address_of(public),
                admin=address_of(admin),
                data=known.data.resolve(),
                archive=known.data.resolve() / "archive",
                public_key=public_path(dev_signing_key(known.data.resolve())),
                program=_program(),
                key=kept["api_key"],
            ),
            flush=True,
        )
        sealing = asyncio.create_task(seal(settings, over))
        await serve_until_stopped(servers, stop)
    over.set()  # the last events are those of the end
    await sealing
