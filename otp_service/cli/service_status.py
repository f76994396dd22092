"""`status`: which process runs which configuration, and what is wrong."""

import argparse
import http.client
import os
import sys
import time
import tomllib
from http import HTTPStatus
from pathlib import Path

import msgspec

from otp_service.cli.command import CommandError, Subparsers, UsageError, add_command, format_list
from otp_service.cli.common import read_settings
from otp_service.core.ip_address import is_wildcard
from otp_service.core.printable_text import escape_unprintable
from otp_service.core.timestamps import SECOND_MS, parse_rfc3339
from otp_service.schemas import ProcessStatus, ServiceStatus
from otp_service.settings.service_tables import ServiceSettings


TIMEOUT_SECONDS = 5.0

UNKNOWN_ADDRESS = (
    "So the address of the admin listener is unknown, and that of the environment or the default is asked. "
    "--address names another."
)


def register_commands(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "status", run_status)
    parser.add_argument("--json", action="store_true", help="what the service answers, as JSON")
    text = "admin listener to ask, like 127.0.0.1:8001 (that of the settings)"
    parser.add_argument("--address", type=_parse_address, metavar="HOST:PORT", help=text)


def run_status(args: argparse.Namespace) -> int:
    """Show which process runs which configuration, and what is wrong.

    Asks the admin listener of the running service, whose address is in the settings. The
    settings may have been changed since it started: then name it with --address. It is
    also wrong if the service is not ready, for example because Redis does not answer.

    A configuration is named by a hash that changes with every setting, secrets included;
    the events of the service carry it as versions.config.

    Exit code 1 if something is wrong, also while a reload is under way; 2 if the service
    does not answer, or if the one that answers runs another file.

    examples:
      otp-service status
      otp-service status --config /etc/otp/otp.toml --json
    """
    host, port = args.address or read_admin_address(args.config)
    body = fetch_status(host, port)
    status = msgspec.json.decode(body, type=ServiceStatus)
    if args.address is None and Path(status.configuration_file) != args.config.resolve():
        text = (
            f"{host}:{port} is a service that runs {status.configuration_file}, not {args.config}."
        )
        raise UsageError(f"{text} Name the right one with --address.")
    if args.json:
        print(body.decode())
    if not args.json:
        for line in format_status(status, round(time.time() * SECOND_MS)).splitlines():
            print(escape_unprintable(line))
    return 1 if status.problems else 0


def _parse_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise argparse.ArgumentTypeError("write host and port, like 127.0.0.1:8001")
    return host.strip("[]"), int(port)


def read_admin_address(path: Path) -> tuple[str, int]:
    """Return host and port of the admin listener. Raises UsageError if the file has no settings.

    A file that cannot be used is read as far as possible: it is what a refused reload leaves.
    """
    try:
        service = read_settings(path).service
    except CommandError as error:
        service = _read_service_table(path, error)
    host = service.admin_host
    if is_wildcard(host):
        host = "::1" if ":" in host else "127.0.0.1"
    return host, service.admin_port


def _read_service_table(path: Path, error: CommandError) -> ServiceSettings:
    """Return the addresses that the file or the environment has. Raises UsageError without a file."""
    try:
        table = tomllib.loads(path.read_text("utf-8")).get("service", {})
    except OSError:
        raise UsageError(str(error)) from error
    except ValueError:
        table = {}
        error = CommandError(f"{error}\n{UNKNOWN_ADDRESS}")
    print(f"otp-service: {error}", file=sys.stderr)
    names = ("admin_host", "admin_port")
    values = {name: table[name] for name in names if isinstance(table, dict) and name in table}
    variables = {name: os.environ.get(f"OTP_SERVICE__{name.upper()}") for name in names}
    values |= {name: value for name, value in variables.items() if value}
    try:
        return msgspec.convert(values, ServiceSettings, strict=False)
    except msgspec.ValidationError:
        return ServiceSettings()


def fetch_status(host: str, port: int) -> bytes:
    """Return the JSON of /status. Raises UsageError if the admin listener does not answer it."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/status")
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or "no response"
        text = f"{host}:{port} does not answer ({reason}): is the service running? --address names another"
        raise UsageError(text) from error
    finally:
        connection.close()
    if response.status != HTTPStatus.OK:
        raise UsageError(f"{host}:{port} answers {response.status} to /status.")
    return body


def format_status(status: ServiceStatus, now_ms: int) -> str:
    """Return the text: a line for the service, one for each process, and the problems."""
    age = _format_age(status.started_at, now_ms)
    lines = [
        f"otp-service {status.version}, mode {status.mode}, up {age}",
        f"configuration {status.configuration} of {status.configuration_file}",
        "",
        f"{'PROCESS':<12}{'PID':>8}  {'CONFIGURATION':<15}{'STATE':<10}SINCE",
        *(_format_process(process, now_ms) for process in status.processes),
        "",
    ]
    if not status.problems:
        return "\n".join([*lines, "Every process serves this configuration."])
    return "\n".join([*lines, "What is wrong:", format_list(status.problems)])


def _format_process(process: ProcessStatus, now_ms: int) -> str:
    age = _format_age(process.started_at, now_ms)
    columns = f"{process.configuration:<15}{process.state:<10}{age}"
    return f"{process.role:<12}{process.pid:>8}  {columns}"


def _format_age(started_at: str, now_ms: int) -> str:
    """Return a duration in its two largest units."""
    seconds = max(0, now_ms - parse_rfc3339(started_at)) // SECOND_MS
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [f"{days} d", f"{hours} h", f"{minutes} min", f"{seconds} s"]
    values = (days, hours, minutes, seconds)
    first = next((place for place, value in enumerate(values) if value), 3)
    return " ".join(parts[first : first + 2])
