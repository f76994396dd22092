"""A safe configuration for a running Redis, and commands that run in this process."""

import asyncio
import io
import json
import os
import secrets
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from otp_service.app import Application
from otp_service.audit.query.stream_scan import MAX_POSITION
from otp_service.cli import main
from otp_service.cli.common import read_settings
from otp_service.cli.numbers import create_cli_app
from otp_service.core.charges import build_consecutive_failure_charge, build_number_send_charges
from otp_service.core.commit import Commit
from otp_service.core.keys import generate_secret
from otp_service.core.phone_number import parse_number
from otp_service.core.tenant import hash_api_key
from otp_service.settings import render_config
from otp_service.store.event_streams import RedisEventStreams
from tests.store import redis_servers


class CommandResult(NamedTuple):
    """Exit code and output of a command."""

    exit_code: int
    out: str
    err: str


class FixedReplyGateway(HTTPServer):
    """A provider that answers each message in the same way."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), FixedReplyHandler)
        self.reply: tuple[int, object] = (200, {"id": "m-1"})
        self.messages: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/messages"


class FixedReplyHandler(BaseHTTPRequestHandler):
    """Handles a request to the gateway."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.messages.append(json.loads(body))
        status, said = self.server.reply
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    def log_message(self, *said):
        """Log nothing."""


@pytest.fixture
def gateway() -> Iterator[FixedReplyGateway]:
    """A provider on loopback."""
    with FixedReplyGateway() as gateway:
        thread = threading.Thread(target=gateway.serve_forever, args=(0.01,))
        thread.start()
        yield gateway
        gateway.shutdown()
        thread.join()


@pytest.fixture
def config(tmp_path, server, gateway) -> Path:
    """A completed configuration of `init`, for an empty Redis."""
    with redis_servers.open_client(server) as client:
        client.flushall()
    text, _ = render_config(
        tenant="shop",
        brand="Example",
        countries=["GB"],
        generate_token=lambda: generate_secret(os.urandom),
        provider_url=gateway.url,
    )
    path = tmp_path / "otp.toml"
    path.touch(0o600)
    path.write_text(text.replace("redis://127.0.0.1:6379/0", server.url))
    return path


@pytest.fixture
def add_audit_tenant(config):
    """Add a tenant whose key only reads events, as `init` does for the security team."""

    def add_table():
        digest = hash_api_key(secrets.token_urlsafe(32)).hex()
        key = f'{{ id = "first", sha256 = "{digest}", scopes = ["audit-all"] }}'
        table = f"\n[tenants.security]\nkeys = [{key}]\n"
        config.write_text(config.read_text() + table)

    return add_table


@pytest.fixture
def run_otp(capsys, monkeypatch):
    """Run a command as from a shell."""

    def run_command(*arguments: object, stdin: bytes | str = "") -> CommandResult:
        data = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return CommandResult(code, *capsys.readouterr())

    return run_command


@pytest.fixture
def lock_number(config):
    """Lock a number at the tenant `shop`."""

    async def add_failures(app: Application, number: str) -> None:
        phone = parse_number(number)
        row = build_consecutive_failure_charge(app.settings.build_tenants()["shop"], phone)
        await app.store.commit(
            Commit(
                partition=app.store.get_number_partition(phone.canonical),
                operation_id=f"lock-{number}",
                charges=(msgspec.structs.replace(row, cost=100),),
            )
        )

    return lambda number: _run_with_app(config, lambda app: add_failures(app, number))


@pytest.fixture
def charge_sends(config):
    """Charge sends to a number at the tenant `shop`, whether its limits admit them or not."""

    async def charge_number(app: Application, number: str, count: int) -> None:
        phone = parse_number(number)
        tenant = app.settings.build_tenants()["shop"]
        charges = build_number_send_charges(tenant, phone)[1:]  # the first only checks the lock
        await app.store.commit(
            Commit(
                partition=app.store.get_number_partition(phone.canonical),
                operation_id=f"send-{number}",
                charges=tuple(
                    msgspec.structs.replace(charge, cost=count, force=True) for charge in charges
                ),
            )
        )

    return lambda number, count: _run_with_app(
        config, lambda app: charge_number(app, number, count)
    )


@pytest.fixture
def read_events(config):
    """Return the events of a number, oldest first."""

    async def read_entries(app: Application, number: str):
        partition = app.store.get_number_partition(parse_number(number).canonical)
        streams = RedisEventStreams(app.script_client, app.store.key_names)
        newest = await streams.fetch_newest({partition: MAX_POSITION}, since=0, count=100)
        found = [msgspec.json.decode(entry.event) for entry in reversed(newest[partition])]
        return [event for event in found if event["type"] != "log.epoch"]

    return lambda number: _run_with_app(config, lambda app: read_entries(app, number))


def _run_with_app(config, call):
    async def run_call():
        async with create_cli_app(read_settings(config)) as app:
            return await call(app)

    return asyncio.run(run_call())
