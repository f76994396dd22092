"""The sinks, each against a real server that accepts, refuses, hangs or has a wrong certificate."""

import asyncio
import json
import logging
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import httpx
import pytest
from moto.server import ThreadedMotoServer

from otp_service.audit.archive_format.seals import build_anchor, find_anchors
from otp_service.audit.sinks import (
    FileSinkSettings,
    HttpSinkSettings,
    S3SinkSettings,
    StdoutSinkSettings,
    SyslogSinkSettings,
    create_sink,
)
from otp_service.audit.sinks.base import SinkError
from otp_service.audit.sinks.stdout import write_lines
from otp_service.audit.sinks.syslog import format_message, frame_message
from otp_service.audit.sinks.threaded import ThreadedSink
from otp_service.core.secret import Secret
from tests.audit.archive_builder import build_standard_archive
from tests.audit.sinks.syslog_server import SyslogServer, parse_messages
from tests.sms.conftest import ScriptedGateway


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The lines of an archive: entries, a gap and seals."""
    folder = tmp_path_factory.mktemp("archive")
    build_standard_archive(folder)
    return [line for path in sorted(folder.glob("*/*")) for line in path.read_bytes().splitlines()]


@pytest.fixture
def receiver(certificate: Path) -> Iterator[SyslogServer]:
    """A syslog server with TLS."""
    with SyslogServer(str(certificate)) as receiver:
        yield receiver


@pytest.fixture
async def gateway() -> AsyncIterator[ScriptedGateway]:
    """An HTTP collector."""
    async with ScriptedGateway() as gateway:
        yield gateway


async def send(settings: Any, lines: Sequence[bytes]) -> None:
    """Deliver the lines to a sink."""
    await create_sink("there", settings).append_lines(lines)


def syslog(receiver: SyslogServer, certificate: Path | None, **more: Any) -> SyslogSinkSettings:
    """Return the settings for this server."""
    given = {"host": "127.0.0.1", "tls_ca": str(certificate) if certificate else None}
    return SyslogSinkSettings(port=receiver.port, **given | more)


# ------------------------------------------------------------------------------- syslog


@pytest.mark.parametrize("ends", ["tls", "tcp"])
async def test_syslog_gets_each_line_as_a_message(
    receiver: SyslogServer, certificate: Path, lines: list[bytes], ends: Any
) -> None:
    """RFC 5424 and 5425; some servers end TLS with close_notify, others just close."""
    receiver.end_mode = ends

    await send(syslog(receiver, certificate), lines)

    (received,) = receiver.octets_by_connection
    found = parse_messages(received)
    assert lines == [text for _, text in found]
    assert {b"110"} == {header[1] for header, _ in found}
    assert {b"entry", b"gap", b"seal"} == {header[6] for header, _ in found}
    entry = json.loads(lines[0])
    assert entry["at"].encode() == found[0][0][2]


def test_syslog_message_byte_by_byte() -> None:
    """As the RFC defines; the length is in octets, not in characters."""
    line = b'{"id":"07-1795-12","at":"2026-11-24T22:45:27.123Z","event":{"x":"\xc3\xa9"},"mac":""}'

    text = frame_message(format_message(line, 13, "otp-1"))

    header = b"<110>1 2026-11-24T22:45:27.123Z otp-1 otp-service - entry - "
    assert b"%d %s%s" % (len(header) + len(line), header, line) == text


@pytest.mark.parametrize("ends", ["reset", "never"])
async def test_messages_that_a_syslog_server_has_not_read_to_the_end_are_not_delivered(
    receiver: SyslogServer, certificate: Path, lines: list[bytes], ends: Any
) -> None:
    """They are written, and the server does not end the connection."""
    receiver.end_mode = ends

    with pytest.raises(OSError, match=r"(?i)reset|timed out|EOF|broken"):
        await send(syslog(receiver, certificate, timeout=0.3), lines * 500)

    assert [] == receiver.octets_by_connection


async def test_a_syslog_server_without_a_valid_certificate_gets_nothing(
    receiver: SyslogServer, certificate: Path, lines: list[bytes]
) -> None:
    """Valid: of a known authority, and for the configured name."""
    for settings in (
        syslog(receiver, None),
        syslog(receiver, certificate, host="localhost"),
    ):
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            await send(settings, lines)

    assert [] == receiver.octets_by_connection


async def test_without_tls_an_agent_on_this_machine_gets_the_lines(lines: list[bytes]) -> None:
    """The agent forwards them."""
    with SyslogServer() as receiver:
        await send(syslog(receiver, None, tls=False), lines)

        assert lines == receiver.parse_lines()


# ------------------------------------------------------------------------------- HTTP


def collector(gateway: ScriptedGateway, **more: Any) -> HttpSinkSettings:
    """Return the settings for this collector."""
    headers = {"Authorization": Secret("Splunk hunter2")}
    given: dict[str, Any] = {"url": gateway.url, "secret_headers": headers, "timeout": 0.5}
    return HttpSinkSettings(**given | more)


async def test_a_collector_gets_the_lines_in_one_post(
    gateway: ScriptedGateway, lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newline-delimited, with the secret headers, and not through a proxy of the environment."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    await send(collector(gateway), lines)

    (request,) = gateway.requests
    assert ("POST", "/v1/messages", lines) == (
        request.method,
        request.target,
        request.body.splitlines(),
    )
    assert "application/x-ndjson" == request.headers["content-type"]
    assert "splunk hunter2" == request.headers["authorization"].lower()
    assert request.body.endswith(b"}\n")


@pytest.mark.parametrize("status", [100, 301, 307, 400, 401, 404, 429, 500, 503])
async def test_only_2xx_confirms_a_delivery(
    gateway: ScriptedGateway, lines: list[bytes], status: int
) -> None:
    """A redirect is not followed: the token would be sent to another server."""
    gateway.set_reply(status, {}, location=f"{gateway.url}/elsewhere", connection="close")

    with pytest.raises((SinkError, httpx.TransportError)) as caught:
        await send(collector(gateway), lines)

    assert 1 == len(gateway.requests)
    if status > 100:  # a final response has to follow 100
        assert f"it answers {status}" == str(caught.value)


async def test_a_collector_that_hangs_ends_in_a_timeout(
    gateway: ScriptedGateway, lines: list[bytes]
) -> None:
    """After the configured time."""
    gateway.hold_replies()

    with pytest.raises(httpx.ReadTimeout):
        await send(collector(gateway, timeout=0.1), lines)


async def test_a_collector_without_a_valid_certificate_gets_nothing(
    gateway: ScriptedGateway, certificate: Path, lines: list[bytes]
) -> None:
    """Neither lines nor the token."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    gateway._server.close()
    await gateway.listen(tls)
    other_name = {"url": gateway.url.replace("127.0.0.1", "localhost"), "tls_ca": str(certificate)}
    for more in ({}, other_name):
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await send(collector(gateway, **more), lines)
    assert [] == gateway.requests

    await send(collector(gateway, tls_ca=str(certificate)), lines)
    assert 1 == len(gateway.requests)


async def test_no_log_has_the_token_or_an_event(
    gateway: ScriptedGateway, lines: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """R68, at DEBUG."""
    caplog.set_level(logging.DEBUG)

    await send(collector(gateway), lines)

    assert "hunter2" not in caplog.text
    assert json.loads(lines[0])["id"] not in caplog.text


# ------------------------------------------------------------------------------- S3


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The address of an S3 store."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


KEYS: dict[str, Any] = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": Secret("hunter2")}


@pytest.fixture
def bucket(moto: str) -> Any:
    """An empty bucket, created with Amazon's SDK."""
    s3 = boto3.resource(
        "s3",
        endpoint_url=moto,
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="hunter2",
    )
    bucket = s3.create_bucket(Bucket="otp-audit")
    bucket.objects.all().delete()
    return bucket


async def test_a_store_gets_an_object_for_each_delivery_and_a_repeat_overwrites_itself(
    moto: str, bucket: Any, lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery that begins with the same line and has other lines overwrites nothing."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    sink = create_sink("there", S3SinkSettings(bucket="otp-audit", endpoint_url=moto, **KEYS))
    for delivery in (lines, lines[:3], lines, [lines[0], lines[2]]):
        await sink.append_lines(delivery)

    objects = {o.key: o.get()["Body"].read().splitlines() for o in bucket.objects.all()}

    assert [[lines[0], lines[2]], lines[:3], lines] == sorted(objects.values(), key=len)
    name = json.loads(lines[0])["id"]
    assert all(key.startswith(f"otp-audit/2025-11-24/entry-{name}-") for key in objects)


async def test_a_store_that_refuses_or_is_unreachable_gets_nothing(
    moto: str, bucket: Any, lines: list[bytes]
) -> None:
    """The error is the store's code, without a value of the settings."""
    with pytest.raises(SinkError, match="NoSuchBucket"):
        await send(S3SinkSettings(bucket="other", endpoint_url=moto, **KEYS), lines)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(SinkError, match="EndpointConnectionError"):
            await send(S3SinkSettings(bucket="otp-audit", endpoint_url=url, **KEYS), lines)
    assert [] == [*bucket.objects.all()]


def test_without_botocore_the_settings_are_refused_with_the_name_of_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At `check` and at the start, not at the first delivery."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    ((field, remedy),) = S3SinkSettings(bucket="otp-audit").find_errors()

    assert "type" == field
    assert "pip install 'otp-service[s3]'" in remedy


def test_without_a_store_botocore_is_not_imported() -> None:
    """It is an extra."""
    code = "import sys, otp_service.app; sys.exit('botocore' in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode


# ------------------------------------------------------------------------------- files and pipes


async def test_a_file_gets_the_anchors_that_verify_reads(
    tmp_path: Path, lines: list[bytes]
) -> None:
    """They are appended to whatever the file holds."""
    path = tmp_path / "anchors"
    path.write_text("# anchors of otp\n")
    seals = [build_anchor(line) for line in lines if line.startswith(b'{"seal"')]
    for seal in seals:
        await send(FileSinkSettings(path=str(path)), [str(seal).encode()])

    assert seals == find_anchors(path.read_text())


async def test_a_file_on_a_disk_that_is_not_mounted_is_not_created(tmp_path: Path) -> None:
    """Anchors would be stored on the disk of the archive."""
    with pytest.raises(FileNotFoundError):
        await send(FileSinkSettings(path=str(tmp_path / "mount" / "anchors")), [b"anchor"])


async def test_anchors_are_delivered_to_syslog_and_collectors_unchanged(
    receiver: SyslogServer, certificate: Path, gateway: ScriptedGateway, lines: list[bytes]
) -> None:
    """A line of text that `verify --anchor` finds in any log."""
    anchor = next(build_anchor(line) for line in lines if line.startswith(b'{"seal"'))

    await send(syslog(receiver, certificate), [str(anchor).encode()])
    await send(collector(gateway), [str(anchor).encode()])

    assert [anchor] == find_anchors(receiver.octets_by_connection[0].decode())
    assert b" anchor - " in receiver.octets_by_connection[0]
    assert [anchor] == find_anchors(gateway.requests[0].body.decode())
    assert gateway.requests[0].headers["content-type"].startswith("text/plain")


async def test_standard_output_gets_each_line(capfd: pytest.CaptureFixture[str]) -> None:
    """Unchanged, and ended by a line break."""
    await send(StdoutSinkSettings(), [b'{"a":1}', b'{"b":2}'])

    assert '{"a":1}\n{"b":2}\n' == capfd.readouterr().out


async def test_a_pipe_without_a_reader_blocks_only_its_own_thread() -> None:
    """Neither the event loop nor the end of the process."""
    reading, writing = os.pipe()
    line = b"x" * 300_000

    waiting = asyncio.create_task(
        ThreadedSink("pipe", lambda lines: write_lines(lines, writing)).append_lines([line])
    )
    await asyncio.sleep(0.05)
    assert not waiting.done()

    read = b""
    while len(read) < len(line) + 1:
        read += await asyncio.to_thread(os.read, reading, 65536)
    await waiting
    assert line + b"\n" == read
    os.close(reading)
    os.close(writing)
