"""`init` and `key new`: the configuration, and everything secret that stands in it.

A secret is printed once, on standard output, and kept nowhere. Nothing is asked of Redis.
"""

import argparse
import os
import re
import secrets
from datetime import datetime, timedelta

from otp_service.cli.command import CommandError, Subparsers, add_command, format_list
from otp_service.cli.common import count_cores
from otp_service.clock import now_ms
from otp_service.core.keys import KEY_RING_NAMES
from otp_service.core.tenant import TENANT_NAME_PATTERN, Scope, hash_api_key
from otp_service.core.timestamps import to_datetime
from otp_service.settings import SettingsError, find_errors, load_settings, render_config
from otp_service.settings.template import quote_toml


CONFIG_WRITTEN_MESSAGE = """\
{path} is written; only you can read it. It holds fresh keys: keep it out of git.

API key of the tenant '{tenant}' (shown this once; the file has only its hash):

  {key}

Next:
  1. Fill in what is still missing:
{missing}
  2. otp-service check --config {path}"""

API_KEY_MESSAGE = """\
API key (shown this once; the configuration has only its hash):

  {key}

Put this line into `keys = [ … ]` of [tenants.{tenant}], then replace the workers with SIGHUP:

  {line}"""

ROTATION_MESSAGE = """\
Put this into [keys] of the configuration, {place}:

  {line}

docs/key-rotation.md has the steps, and says when the old one may go."""


def register_commands(subparsers: Subparsers) -> None:
    """Describe the commands."""
    parser = add_command(subparsers, "init", run_init)
    parser.add_argument(
        "--tenant",
        type=_parse_tenant_name,
        default="app",
        metavar="NAME",
        help="who calls, a word (app)",
    )
    parser.add_argument("--brand", help="how its messages begin (the tenant's name)")
    parser.add_argument(
        "--country", nargs="+", default=[], type=str.upper, metavar="CC", help="where to send to"
    )
    key = subparsers.add_parser("key", help="make an API key, or a secret to rotate to")
    parser = add_command(
        key.add_subparsers(metavar="new", required=True), "new", run_key_new, takes_config=False
    )
    parser.add_argument(
        "--tenant", type=_parse_tenant_name, metavar="NAME", help="whose key it will be"
    )
    parser.add_argument(
        "--scope",
        nargs="+",
        choices=[str(scope) for scope in Scope],
        default=[Scope.CHALLENGES],
        metavar="SCOPE",
        help=f"what it may do: {', '.join(Scope)} (challenges)",
    )
    parser.add_argument(
        "--expires", type=_parse_days, metavar="TIME", help="after days, like 90d (never)"
    )
    parser.add_argument(
        "--secret", dest="ring", choices=KEY_RING_NAMES, help="make a secret for this key instead"
    )


def run_init(args: argparse.Namespace) -> int:
    """Write a commented configuration with fresh keys.

    Every setting is explained in it; it has one tenant, whose API key is printed. A
    file that is there is left alone.

    examples:
      otp-service init --tenant shop --brand 'The Shop' --country GB IE
    """
    brand = args.tenant if args.brand is None else args.brand
    text, api_key = render_config(
        tenant=args.tenant,
        brand=brand,
        countries=args.country,
        generate_token=_generate_token,
        pseudonym_id=_generate_key_id(to_datetime(now_ms())),
    )
    try:
        settings = load_settings(text, {}, str, cores=count_cores())
    except SettingsError as error:
        raise CommandError(str(error)) from error
    missing = format_list(f"   {fault}" for fault in find_errors(settings, now_ms()))
    try:
        # Nobody else can read it.
        file = os.open(args.config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise CommandError(
            f"cannot write {args.config}: {error.strerror}. Choose another file with --config."
        ) from error
    print(
        CONFIG_WRITTEN_MESSAGE.format(
            path=args.config, tenant=args.tenant, key=api_key, missing=missing
        )
    )
    return 0


def run_key_new(args: argparse.Namespace) -> int:
    """Make an API key, or a secret to rotate to.

    It has 256 random bits. What to put into the configuration is printed; with
    --secret it is for one of the service's five keys. Nothing is changed or kept.

    examples:
      otp-service key new --tenant shop --expires 90d
      otp-service key new --tenant security --scope audit-all operator
      otp-service key new --secret pepper
    """
    now = to_datetime(now_ms())
    key_id = _generate_key_id(now)
    if args.ring:
        print(_format_new_secret(args.ring, key_id, _generate_token()))
        return 0
    token, expires = _generate_token(), now + args.expires if args.expires else None
    scopes = ", ".join(quote_toml(scope) for scope in args.scope)
    until = f", expires = {expires:%Y-%m-%dT%H:%M:%SZ}" if expires else ""
    sha256 = hash_api_key(token).hex()
    line = f'{{ id = "{key_id}", sha256 = "{sha256}", scopes = [{scopes}]{until} }},'
    print(API_KEY_MESSAGE.format(key=token, tenant=args.tenant or "NAME", line=line))
    return 0


def _format_new_secret(ring: str, key_id: str, token: str) -> str:
    line = f'{{ id = "{key_id}", secret = "{token}" }}'
    return ROTATION_MESSAGE.format(line=f"{line},", place=f"last in `{ring} = [ … ]`")


def _generate_key_id(now: datetime) -> str:
    """Return an id that says how old its key is."""
    return f"{now:%Y-%m-%d}-{secrets.token_hex(2)}"


def _generate_token() -> str:
    return secrets.token_urlsafe(32)


def _parse_tenant_name(text: str) -> str:
    if not re.fullmatch(TENANT_NAME_PATTERN, text):
        raise argparse.ArgumentTypeError("use lower-case letters, digits and hyphens, at most 32")
    return text


def _parse_days(text: str) -> timedelta:
    if not re.fullmatch(r"[1-9]\d{0,3}d", text, re.ASCII):
        raise argparse.ArgumentTypeError("write days, like 90d")
    return timedelta(int(text[:-1]))
