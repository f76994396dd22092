"""A configuration that is safe, for a Redis that runs, and commands run on it in this process."""

import asyncio
import io
import json
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
from otp_service.audit.query.stream_scan import NEWEST
from otp_service.cli import main
from otp_service.cli.common import read_settings
from otp_service.cli.numbers import opened
from otp_service.core.charges import row_of
from otp_service.core.phone_number import parse
from otp_service.core.ports import Commit
from otp_service.settings import render
from otp_service.store.event_streams import RedisStreams
from tests.store import redis_servers


class Ended(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


class Gateway(HTTPServer):
    """A provider that answers each message in the same way."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answering)
        self.answer: tuple[int, object] = (200, {"id": "m-1"})
        self.asked: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/messages"


class Answering(BaseHTTPRequestHandler):
    """One request to the gateway."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append(json.loads(body))
        status, said = self.server.answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    def log_message(self, *said):
        """Say nothing."""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A provider on loopback."""
    with Gateway() as gateway:
        thread = threading.Thread(target=gateway.serve_forever, args=(0.01,))
        thread.start()
        yield gateway
        gateway.shutdown()
        thread.join()


@pytest.fixture
def config(tmp_path, server, gateway) -> Path:
    """What `init` writes, filled in; Redis is empty."""
    with redis_servers.client_of(server) as client:
        client.flushall()
    text, _ = render(
        tenant="shop",
        brand="Example",
        countries=["GB"],
        token=lambda: secrets.token_urlsafe(32),
        provider_url=gateway.url,
    )
    path = tmp_path / "otp.toml"
    path.write_text(text.replace("redis://127.0.0.1:6379/0", server.url))
    return path


@pytest.fixture
def otp(capsys, monkeypatch):
    """Run a command as from a shell."""

    def run(*arguments: object, stdin: bytes | str = "") -> Ended:
        data = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Ended(code, *capsys.readouterr())

    return run


@pytest.fixture
def lock(config):
    """Lock a number at the tenant `shop`."""

    async def count_a_hundred(app: Application, number: str) -> None:
        phone = parse(number)
        row = row_of(app.settings.tenants()["shop"], phone)
        await app.store.commit(
            Commit(
                partition=app.store.partition_of(phone.collapsed),
                operation=f"lock-{number}",
                charges=(msgspec.structs.replace(row, cost=100),),
                label=phone.masked,
            )
        )

    return lambda number: _with(config, lambda app: count_a_hundred(app, number))


@pytest.fixture
def told(config):
    """Return the events of a number, oldest first."""

    async def read(app: Application, number: str):
        partition = app.store.partition_of(parse(number).collapsed)
        streams = RedisStreams(app.link, app.store.names)
        newest = await streams.newest({partition: NEWEST}, since=0, count=100)
        found = [msgspec.json.decode(entry.event) for entry in reversed(newest[partition])]
        return [event for event in found if event["type"] != "log.epoch"]

    return lambda number: _with(config, lambda app: read(app, number))


def _with(config, call):
    async def run():
        async with opened(read_settings(config)) as app:
            return await call(app)

    return asyncio.run(run())
