"""The archive of a service and all outputs of its audit commands and sinks."""

import contextlib
import io
import json
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import pytest

from otp_service.audit.archive_format.key_files import create_key_files, derive_public_path
from otp_service.audit.archive_format.segments import list_segments
from otp_service.audit.exports import EXPORT_FORMATS
from otp_service.cli import main
from tests.audit.sinks.syslog_server import SyslogServer
from tests.trace_collector import TraceCollector


class CommandOutput(NamedTuple):
    """The exit code and the output of a command."""

    exit_code: int
    output: bytes


class AuditEnvironment(contextlib.ExitStack):
    """A folder for the archive, a collector, a syslog server and a file of anchors."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.archive, self.anchors = folder / "archive", folder / "anchors"
        self._key, self._config = folder / "audit.pem", folder / "otp.toml"
        self._token = secrets.token_urlsafe(32)

    def __enter__(self) -> Self:
        super().__enter__()
        create_key_files(self._key)
        self.collector = self.enter_context(TraceCollector())
        self.syslog = self.enter_context(SyslogServer())
        return self

    @property
    def settings(self) -> dict[str, str]:
        """The settings that a service needs for its audit log."""
        return {
            "AUDIT__ARCHIVE": str(self.archive),
            "AUDIT__SIGNING_KEY": str(self._key),
            "AUDIT__SEAL_SECONDS": "1",
            "AUDIT__ANCHOR": f'{{ type = "file", path = "{self.anchors}" }}',
            "AUDIT__SINKS__COLLECTOR__TYPE": "http",
            "AUDIT__SINKS__COLLECTOR__URL": self.collector.url,
            "AUDIT__SINKS__COLLECTOR__SECRET_HEADERS": f'{{ X-Token = "{self._token}" }}',
            "AUDIT__SINKS__SIEM__TYPE": "syslog",
            "AUDIT__SINKS__SIEM__HOST": "127.0.0.1",
            "AUDIT__SINKS__SIEM__PORT": str(self.syslog.port),
            "AUDIT__SINKS__SIEM__TLS": "false",
        }

    @property
    def secrets(self) -> set[str]:
        """The collector's token and the signing key (the end of the only line of the PEM file)."""
        _, encoded, *_ = self._key.read_text().splitlines()
        return {self._token, encoded[20:]}

    def read_archive_lines(self) -> list[bytes]:
        """Return the lines of the archive."""
        return [
            line
            for segment in list_segments(self.archive)
            for line in segment.read_bytes().splitlines()
        ]

    def run_searches(self, number: str) -> dict[str, bytes]:
        """Return the output of the search commands, for all events and for this number."""
        all_events = self.run_query("search", "--json")
        events = [json.loads(line) for line in all_events.output.splitlines()]
        reason = ("--reason", "Ticket 4711")
        searches = [
            all_events,
            self.run_query("search"),
            self.run_query("search", "--number", "-", "--json", *reason, stdin=number),
            self.run_query("search", "--number", number, *reason),
            self.run_query("search", "--number", "-", "--reason", f"of {number}", stdin=number),
            self.run_query("search", "--since", number),
        ]
        assert [0, 0, 0] == [output.exit_code for output in searches[:3]], searches
        assert 0 not in {output.exit_code for output in searches[3:]}
        challenges = {event["challenge"] for event in events if "challenge" in event}
        shows = [self.run_query("show", argument) for argument in [*challenges, number]]
        stats = [
            self.run_query("stats", "--by", by) for by in ("hour", "country", "provider", "tenant")
        ] + [self.run_query("stats", "--json")]
        return {
            "audit search": _join_outputs(searches),
            "audit show": _join_outputs(shows),
            "audit stats": _join_outputs(stats),
        }

    def collect_outputs(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the content of each audit output once the service has stopped."""
        files = [path for path in sorted(self.archive.rglob("*")) if path.is_file()]
        yield "archive", b"\n".join(path.read_bytes() for path in files)
        yield "collector", self.collector.bodies
        yield "syslog server", b"".join(self.syslog.octets_by_connection)
        yield "anchors", self.anchors.read_bytes()
        for name in EXPORT_FORMATS:
            yield name, self._run_audit_command("export", "--format", name, self.archive).output
        keys = ("--public-key", derive_public_path(self._key))
        verified = self._run_audit_command("verify", self.archive, *keys, "--anchor", self.anchors)
        assert 0 == verified.exit_code, verified
        yield "audit verify", verified.output
        verify = next(line for line in self.read_archive_lines() if b'"otp.verified"' in line)
        proof = self._run_audit_command("prove", self.archive, json.loads(verify)["id"])
        assert 0 == proof.exit_code, proof
        yield "audit prove", proof.output

    def run_query(self, *arguments: str, stdin: str = "") -> CommandOutput:
        """Run one of the commands that read the archive and Redis."""
        places = ("--config", self._config, "--archive", self.archive)
        return self._run_audit_command(*arguments, *places, stdin=stdin)

    def _run_audit_command(self, *arguments: object, stdin: str = "") -> CommandOutput:
        """Run `otp-service audit …` in this process, which is faster than in another."""
        stream = io.StringIO()
        with (
            contextlib.redirect_stdout(stream),
            contextlib.redirect_stderr(stream),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8"))
            try:
                code = main(["audit", *map(str, arguments)])
            except SystemExit as exit_error:
                code = int(exit_error.code or 0)
        return CommandOutput(code, stream.getvalue().encode())


def _join_outputs(outputs: list[CommandOutput]) -> bytes:
    return b"\n".join(output.output for output in outputs)
