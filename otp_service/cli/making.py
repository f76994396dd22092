"""`init` and `key new`: the configuration, and everything secret that stands in it.

A secret is printed once, on standard output, and kept nowhere. Nothing is asked of Redis.
"""

import argparse
import os
import re
import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from otp_service.cli.config import DEFAULT, cores
from otp_service.cli.console import Subparsers, command, listed
from otp_service.cli.errors import CommandError
from otp_service.core.keys import RINGS
from otp_service.core.tenant import TENANT_NAME, Scope, digest
from otp_service.settings import SettingsError, faults, load, render
from otp_service.settings.template import quoted


WRITTEN = """\
{path} is written; only you can read it. It holds fresh keys: keep it out of git.

API key of the tenant '{tenant}' (shown this once; the file has only its hash):

  {key}

Next:
  1. Fill in what is still missing:
{missing}
  2. otp-service check --config {path}"""

API_KEY = """\
API key (shown this once; the configuration has only its hash):

  {key}

Put this line into `keys = [ … ]` of [tenants.{tenant}], then replace the workers with SIGHUP:

  {line}"""

ROTATION = """\
Put this into [keys] of the configuration, {place}:

  {line}

otp_service/ROTATION.md has the steps, and says when the old one may go."""


def add(subparsers: Subparsers) -> None:
    """Describe the commands."""
    parser = command(
        subparsers,
        "init",
        init,
        brief="write a commented configuration with fresh keys",
        about=(
            "Writes a configuration in which every setting is explained, with fresh keys and "
            "one tenant, and prints the API key of that tenant. A file that is there is left "
            "alone."
        ),
        examples=("otp-service init --tenant shop --brand 'The Shop' --country GB IE",),
    )
    parser.add_argument("--config", type=Path, default=DEFAULT, help="file to write (otp.toml)")
    parser.add_argument(
        "--tenant", type=_name, default="app", metavar="NAME", help="who calls, a word (app)"
    )
    parser.add_argument("--brand", help="how its messages begin (the tenant's name)")
    parser.add_argument(
        "--country", nargs="+", default=[], type=str.upper, metavar="CC", help="where to send to"
    )
    parser.add_argument("--force", action="store_true", help="write over the file and its keys")
    _add_key(subparsers)


def _add_key(subparsers: Subparsers) -> None:
    key = subparsers.add_parser("key", help="make an API key, or a secret to rotate to")
    parser = command(
        key.add_subparsers(metavar="new", required=True),
        "new",
        key_new,
        brief="make one",
        about=(
            "Makes an API key of 256 random bits, or with --secret one of the service's five "
            "keys, and prints what to put into the configuration. Nothing is changed or kept."
        ),
        examples=(
            "otp-service key new --tenant shop --expires 90d",
            "otp-service key new --tenant security --scope audit-all operator",
            "otp-service key new --secret pepper",
        ),
    )
    parser.add_argument("--tenant", type=_name, metavar="NAME", help="whose key it will be")
    parser.add_argument(
        "--scope",
        nargs="+",
        choices=list(Scope),
        default=[Scope.CHALLENGES],
        metavar="SCOPE",
        help=f"what it may do: {', '.join(Scope)} (challenges)",
    )
    parser.add_argument(
        "--expires", type=_expiry, metavar="TIME", help="after so long, like 90d or 12h (never)"
    )
    parser.add_argument(
        "--secret", dest="ring", choices=RINGS, help="make a secret for this key instead"
    )


def init(known: argparse.Namespace) -> int:
    """Write the file, and say what is left to do."""
    brand = known.tenant if known.brand is None else known.brand
    text, api_key = render(tenant=known.tenant, brand=brand, countries=known.country, token=_token)
    missing = _missing(text, known.tenant, countries=bool(known.country))
    _write(known.config, text, over=known.force)
    print(
        WRITTEN.format(path=known.config, tenant=known.tenant, key=api_key, missing=listed(missing))
    )
    return 0


def key_new(known: argparse.Namespace) -> int:
    """Print a key and what stands for it in the configuration."""
    now = datetime.now(UTC)
    key_id = f"{now:%Y-%m-%d}-{secrets.token_hex(2)}"
    if known.ring:
        print(_new_secret(known.ring, key_id, _token()))
        return 0
    token, expires = _token(), now + known.expires if known.expires else None
    scopes = ", ".join(quoted(scope) for scope in known.scope)
    until = f", expires = {expires:%Y-%m-%dT%H:%M:%SZ}" if expires else ""
    sha256 = digest(token).hex()
    line = f'{{ id = "{key_id}", sha256 = "{sha256}", scopes = [{scopes}]{until} }},'
    print(API_KEY.format(key=token, tenant=known.tenant or "NAME", line=line))
    return 0


def _new_secret(ring: str, key_id: str, token: str) -> str:
    line = f'{{ id = "{key_id}", secret = "{token}" }}'
    return ROTATION.format(line=f"{line},", place=f"last in `{ring} = [ … ]`")


def _missing(text: str, tenant: str, *, countries: bool) -> list[object]:
    """Return what is left to a person; CommandError if what was given cannot be used."""
    try:
        settings = load(text, {}, _no_file, cores=cores())
    except SettingsError as error:
        raise CommandError(f"nothing was written:\n{error}") from error
    found = faults(settings, time.time_ns() // 1_000_000)
    given = [fault for fault in found if fault.setting.startswith("tenants.")]
    if not countries:
        given = [fault for fault in given if fault.setting != f"tenants.{tenant}.countries"]
    if given:
        raise CommandError(f"nothing was written:\n{listed(given)}")
    return [f"   {fault}" for fault in found]


def _no_file(path: str) -> str:
    raise FileNotFoundError(path)


def _write(path: Path, text: str, *, over: bool) -> None:
    """Write a file that nobody else can read; what is there goes only with `over`."""
    try:
        if over:
            path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CommandError(
            f"{path} is there and holds keys that are perhaps in use. Choose another file with "
            "--config, or lose it with --force."
        ) from None
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}.") from error


def _token() -> str:
    return secrets.token_urlsafe(32)


def _name(text: str) -> str:
    if not re.fullmatch(TENANT_NAME, text):
        raise argparse.ArgumentTypeError("use lower-case letters, digits and hyphens, at most 32")
    return text


def _expiry(text: str) -> timedelta:
    match = re.fullmatch(r"([1-9]\d{0,3})([dh])", text, re.ASCII)
    if not match:
        raise argparse.ArgumentTypeError("write days or hours, like 90d or 12h")
    return timedelta(hours=int(match[1]) * (24 if match[2] == "d" else 1))
