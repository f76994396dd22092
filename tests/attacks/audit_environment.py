"""A service's archive and all that is made of it, as those who audit it get to see it."""

import contextlib
import io
import json
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import pytest

from otp_service.audit.archive_format.key_files import public_path, write_key
from otp_service.audit.archive_format.segments import lines, segments
from otp_service.audit.exports import FORMATS
from otp_service.cli import main
from tests.audit.sinks.syslog_server import Receiver
from tests.trace_collector import Collector


class Said(NamedTuple):
    """What a command said, and how it ended."""

    code: int
    text: bytes


class Auditors(contextlib.ExitStack):
    """A folder for the archive, a collector, a syslog server and a file of anchors besides."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.archive, self.anchors = folder / "archive", folder / "anchors"
        self._key, self._config = folder / "audit.pem", folder / "otp.toml"
        self._token = secrets.token_urlsafe(32)

    def __enter__(self) -> Self:
        super().__enter__()
        write_key(self._key)
        self.collector = self.enter_context(Collector())
        self.syslog = self.enter_context(Receiver())
        return self

    @property
    def settings(self) -> dict[str, str]:
        """What a service has to be told, to be audited."""
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
        """What knows us by the collector, and what seals: the end of the PEM file's one line."""
        _, encoded, *_ = self._key.read_text().splitlines()
        return {self._token, encoded[20:]}

    def lines(self) -> list[bytes]:
        """Return the lines of the archive."""
        return [line for segment in segments(self.archive) for line in lines(segment)]

    def searched(self, number: str) -> dict[str, bytes]:
        """Return what the security team's commands say, of all events and of this number."""
        found = self.asks("search", "--json")
        events = [json.loads(one) for one in found.text.splitlines()]
        reason = ("--reason", "Ticket 4711")
        searches = [
            found,
            self.asks("search"),
            self.asks("search", "--number", "-", "--json", *reason, stdin=number),
            self.asks("search", "--number", number, *reason),
            self.asks("search", "--number", "-", "--reason", f"of {number}", stdin=number),
            self.asks("search", "--since", number),
        ]
        assert [0, 0, 0] == [said.code for said in searches[:3]], searches
        assert 0 not in {said.code for said in searches[3:]}
        challenges = {event["challenge"] for event in events if "challenge" in event}
        shows = [self.asks("show", one) for one in [*challenges, number]]
        stats = [
            self.asks("stats", "--by", by) for by in ("hour", "country", "provider", "tenant")
        ] + [self.asks("stats", "--json")]
        return {
            "audit search": _all(searches),
            "audit show": _all(shows),
            "audit stats": _all(stats),
        }

    def kept(self) -> Iterator[tuple[str, bytes]]:
        """Give what is there once the service has stopped: by place, or by who says it."""
        files = [path for path in sorted(self.archive.rglob("*")) if path.is_file()]
        yield "archive", b"\n".join(path.read_bytes() for path in files)
        yield "collector", self.collector.received
        yield "syslog server", b"".join(self.syslog.received)
        yield "anchors", self.anchors.read_bytes()
        for name in FORMATS:
            yield name, self._audited("export", "--format", name, self.archive).text
        keys = ("--public-key", public_path(self._key))
        verified = self._audited("verify", self.archive, *keys, "--anchor", self.anchors)
        assert 0 == verified.code, verified
        yield "audit verify", verified.text
        verify = next(line for line in self.lines() if b'"otp.verified"' in line)
        proof = self._audited("prove", self.archive, json.loads(verify)["id"])
        assert 0 == proof.code, proof
        yield "audit prove", proof.text

    def asks(self, *arguments: str, stdin: str = "") -> Said:
        """Run one of the commands that look into archive and Redis."""
        places = ("--config", self._config, "--archive", self.archive)
        return self._audited(*arguments, *places, stdin=stdin)

    def _audited(self, *arguments: object, stdin: str = "") -> Said:
        """Run `otp-service audit …` in this process, which is quick."""
        said = io.StringIO()
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8"))
            try:
                code = main(["audit", *map(str, arguments)])
            except SystemExit as ended:
                code = int(ended.code or 0)
        return Said(code, said.getvalue().encode())


def _all(said: list[Said]) -> bytes:
    return b"\n".join(one.text for one in said)
