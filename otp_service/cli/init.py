"""`init` and `key new`: the configuration, and everything secret that stands in it.

A secret is printed once, on standard output, and kept nowhere. Nothing is asked of Redis.
"""

import argparse
import os
import re
import secrets
import time
from datetime import UTC, datetime, timedelta

from otp_service.cli.command import CommandError, Subparsers, command, listed
from otp_service.cli.common import cores
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
    parser = command(subparsers, "init", init)
    parser.add_argument(
        "--tenant", type=_name, default="app", metavar="NAME", help="who calls, a word (app)"
    )
    parser.add_argument("--brand", help="how its messages begin (the tenant's name)")
    parser.add_argument(
        "--country", nargs="+", default=[], type=str.upper, metavar="CC", help="where to send to"
    )
    key = subparsers.add_parser("key", help="make an API key, or a secret to rotate to")
    parser = command(key.add_subparsers(metavar="new", required=True), "new", key_new, config=False)
    parser.add_argument("--tenant", type=_name, metavar="NAME", help="whose key it will be")
    parser.add_argument(
        "--scope",
        nargs="+",
        choices=[str(scope) for scope in Scope],
        default=[Scope.CHALLENGES],
        metavar="SCOPE",
        help=f"what it may do: {', '.join(Scope)} (challenges)",
    )
    parser.add_argument(
        "--expires", type=_days, metavar="TIME", help="after days, like 90d (never)"
    )
    parser.add_argument(
        "--secret", dest="ring", choices=RINGS, help="make a secret for this key instead"
    )


def init(known: argparse.Namespace) -> int:
    """Write a commented configuration with fresh keys.

    Every setting is explained in it; it has one tenant, whose API key is printed. A
    file that is there is left alone.

    examples:
      otp-service init --tenant shop --brand 'The Shop' --country GB IE
    """
    brand = known.tenant if known.brand is None else known.brand
    text, api_key = render(
        tenant=known.tenant,
        brand=brand,
        countries=known.country,
        token=_token,
        pseudonym_id=_key_id(datetime.now(UTC)),
    )
    try:
        settings = load(text, {}, str, cores=cores())
    except SettingsError as error:
        raise CommandError(str(error)) from error
    missing = listed(f"   {fault}" for fault in faults(settings, time.time_ns() // 1_000_000))
    try:
        # Nobody else can read it.
        file = os.open(known.config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise CommandError(
            f"cannot write {known.config}: {error.strerror}. Choose another file with --config."
        ) from error
    print(WRITTEN.format(path=known.config, tenant=known.tenant, key=api_key, missing=missing))
    return 0


def key_new(known: argparse.Namespace) -> int:
    """Make an API key, or a secret to rotate to.

    It has 256 random bits. What to put into the configuration is printed; with
    --secret it is for one of the service's five keys. Nothing is changed or kept.

    examples:
      otp-service key new --tenant shop --expires 90d
      otp-service key new --tenant security --scope audit-all operator
      otp-service key new --secret pepper
    """
    now = datetime.now(UTC)
    key_id = _key_id(now)
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


def _key_id(now: datetime) -> str:
    """Return an id that says how old its key is."""
    return f"{now:%Y-%m-%d}-{secrets.token_hex(2)}"


def _token() -> str:
    return secrets.token_urlsafe(32)


def _name(text: str) -> str:
    if not re.fullmatch(TENANT_NAME, text):
        raise argparse.ArgumentTypeError("use lower-case letters, digits and hyphens, at most 32")
    return text


def _days(text: str) -> timedelta:
    if not re.fullmatch(r"[1-9]\d{0,3}d", text, re.ASCII):
        raise argparse.ArgumentTypeError("write days, like 90d")
    return timedelta(int(text[:-1]))
