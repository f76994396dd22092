"""`init` and `key new`: a configuration, and new keys and secrets for it.

An API key is printed once, to standard output, and is not stored. Redis is not used.
"""

import argparse
import functools
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from otp_service.audit.archive_format.key_files import create_key_files
from otp_service.cli.command import CommandError, Subparsers, add_command, format_list
from otp_service.cli.common import count_cores
from otp_service.clock import now_ms
from otp_service.core.keys import KEY_RING_NAMES, generate_secret
from otp_service.core.tenant import TENANT_NAME_PATTERN, Scope, hash_api_key
from otp_service.core.timestamps import to_datetime
from otp_service.settings import (
    ConfigIssue,
    SettingsError,
    find_errors,
    load_settings,
    render_config,
)
from otp_service.settings.service_tables import NO_ARCHIVE, AuditSettings
from otp_service.settings.template import choose_audit_tenant, quote_toml


CONFIG_WRITTEN_MESSAGE = """\
{path} is written; only you can read it. It holds fresh keys: keep it out of git.

API key of the tenant '{tenant}' (shown this once; the file has only its hash):

  {key}

Key of the security team, the tenant '{audit_tenant}' (shown this once, too):

  {audit_key}

It reads the events of all tenants: at http://{admin}/audit, which asks for it, and as
GET /v1/audit/events with 'Authorization: Bearer KEY'.

{archive}

{next_steps}"""

NEXT_STEPS_MESSAGE = """\
Next:
  1. Fill in what is still missing:
{missing}
  2. otp-service check --config {path}"""

CHECK_MESSAGE = "Next: otp-service check --config {path}"

ARCHIVE_MESSAGE = """\
Events are archived in {folder}, sealed by the key {key}.
Keep the key private. {key}.pub is for the people who verify the archive."""

NO_ARCHIVE_MESSAGE = "Events are not archived: they are lost with Redis. See [audit] in the file."

DEFAULT_COUNTRIES: Mapping[str, tuple[str, ...]] = {"live": (), "test": ("GB", "US")}
"""By mode: a live service names its own, and these two have fictitious numbers in every library."""

API_KEY_MESSAGE = """\
API key (shown this once; the configuration has only its hash):

  {key}

Add this line to `keys = [ … ]` of [tenants.{tenant}], then reload with SIGHUP:

  {line}"""

ROTATION_MESSAGE = """\
Add this to [keys] of the configuration, {place}:

  {line}

docs/key-rotation.md has the steps, and says when the old one can be removed."""


def register_commands(subparsers: Subparsers) -> None:
    name: dict[str, Any] = {"type": _parse_tenant_name, "metavar": "NAME"}
    add = add_command(subparsers, "init", run_init).add_argument
    add("--tenant", default="app", help="name of the calling application (app)", **name)
    add("--brand", help="first word of its messages (the tenant's name)")
    countries_text = "countries to send to, like GB; for tests GB and US are the default"
    text = "'test' for a service that sends nothing, with an inbox and keys for tests (live)"
    add("--mode", choices=("live", "test"), default="live", help=text)
    add("--country", nargs="+", default=[], type=str.upper, metavar="CC", help=countries_text)
    text = "folder of the archive of events, or 'none' (archive, next to the file)"
    add("--archive", default="archive", metavar="DIR", help=text)

    text = "make an API key, or a secret to rotate to"
    key = subparsers.add_parser("key", help=text, description=f"Commands to {text}.")
    inner = key.add_subparsers(metavar="new", required=True)
    add = add_command(inner, "new", run_key_new, takes_config=False).add_argument
    add("--tenant", help="the tenant that uses the key", **name)
    scopes, text = [str(scope) for scope in Scope], f"scopes: {', '.join(Scope)} (challenges)"
    default = [Scope.CHALLENGES]
    add("--scope", nargs="+", choices=scopes, default=default, metavar="SCOPE", help=text)
    text = "lifetime in days, like 90d (unlimited)"
    add("--expires", type=_parse_days, metavar="TIME", help=text)
    text = "make a secret for this key ring instead"
    add("--secret", dest="ring", choices=KEY_RING_NAMES, help=text)


def run_init(args: argparse.Namespace) -> int:
    """Write a commented configuration with new keys.

    The file explains every setting. It has one tenant that sends codes, the security
    team as another one, whose keys are printed, and new secrets. Its mode is 600. What is left to fill in is listed. A file that exists
    is never overwritten. The key that seals the archive is written next to it, as
    audit.pem and audit.pem.pub; an audit.pem that exists is used.

    With --mode test the service needs no provider, and nothing is left to fill in.

    Exit code 1 if the file exists or cannot be written, or an option is invalid.

    examples:
      otp-service init --country GB
      otp-service init --mode test --config test.toml
      otp-service init --tenant shop --brand 'The Shop' --country GB IE
      otp-service init --country GB --archive /var/lib/otp-service/archive
    """
    config = _render_new_config(args)
    try:
        settings = load_settings(config.text, {}, str, cores=count_cores())
    except SettingsError as error:
        raise CommandError(str(error)) from error
    errors = find_errors(settings)
    _require_valid_options(args, errors)
    _write_new_file(args.config, config.text)
    if settings.audit.signing_key:
        _create_signing_key(Path(settings.audit.signing_key))
    message = CONFIG_WRITTEN_MESSAGE.format(
        path=args.config,
        tenant=args.tenant,
        key=config.api_key,
        audit_tenant=choose_audit_tenant(args.tenant),
        audit_key=config.audit_key,
        admin=f"{settings.service.admin_host}:{settings.service.admin_port}",
        archive=_describe_archive(settings.audit),
        next_steps=_describe_next_steps(args.config, errors),
    )
    print(message)
    return 0


class NewConfig(NamedTuple):
    """A configuration to write, and the keys whose hashes it has."""

    text: str
    api_key: str
    audit_key: str


def _render_new_config(args: argparse.Namespace) -> NewConfig:
    key_id, audit_key = _generate_key_id(to_datetime(now_ms())), generate_secret(os.urandom)
    text, api_key = render_config(
        tenant=args.tenant,
        brand=args.tenant if args.brand is None else args.brand,
        countries=args.country or DEFAULT_COUNTRIES[args.mode],
        generate_token=functools.partial(generate_secret, os.urandom),
        mode=args.mode,
        pseudonym_id=key_id,
        seal_id=key_id,
        authenticator_id=key_id,
        audit_key_sha256=hash_api_key(audit_key).hex(),
        **_choose_archive(args.archive, args.config),
    )
    return NewConfig(text, api_key, audit_key)


def _describe_next_steps(path: Path, errors: Sequence[ConfigIssue]) -> str:
    if not errors:
        return CHECK_MESSAGE.format(path=path)
    missing = format_list(f"   {error}" for error in errors)
    return NEXT_STEPS_MESSAGE.format(missing=missing, path=path)


def _require_valid_options(args: argparse.Namespace, errors: Iterable[ConfigIssue]) -> None:
    """Raise CommandError with each option whose value `check` would refuse."""
    options = {f"tenants.{args.tenant}.brand": "--brand"}
    if args.country:
        options[f"tenants.{args.tenant}.countries"] = "--country"
    invalid = [
        f"{options[error.setting]} {error.remedy}" for error in errors if error.setting in options
    ]
    if invalid:
        raise CommandError(f"nothing is written, because of these options:\n{format_list(invalid)}")


def _choose_archive(archive: str, config: Path) -> dict[str, str]:
    """Return the folder of the archive and the file of its key, relative to the configuration."""
    if archive == NO_ARCHIVE:
        return {"archive": archive}
    folder = config.absolute().parent
    return {"archive": str(folder / archive), "signing_key": str(folder / "audit.pem")}


def _describe_archive(audit: AuditSettings) -> str:
    if not audit.signing_key:
        return NO_ARCHIVE_MESSAGE
    return ARCHIVE_MESSAGE.format(folder=audit.archive, key=audit.signing_key)


def _create_signing_key(path: Path) -> None:
    """Write a key that seals, unless there is one. Raises CommandError."""
    if path.exists():
        return
    try:
        create_key_files(path)
    except OSError as error:
        text = f"cannot write {path}: {error.strerror}. 'otp-service audit key' writes it later."
        raise CommandError(text) from error


def _write_new_file(path: Path, text: str) -> None:
    """Write a file that only its owner can read. Raises CommandError, also if it exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        text = f"cannot write {path}: {error.strerror}. Choose another file with --config."
        raise CommandError(text) from error


def run_key_new(args: argparse.Namespace) -> int:
    """Make an API key, or a secret to rotate to.

    It has 256 random bits. The command prints the line to add to the configuration,
    and for an API key the key itself. With --secret it makes a secret for one of the
    service's six key rings instead. No file is read or changed.

    examples:
      otp-service key new --tenant shop --expires 90d
      otp-service key new --tenant security --scope audit-all operator
      otp-service key new --secret pepper
    """
    now = to_datetime(now_ms())
    key_id = _generate_key_id(now)
    if args.ring:
        line = f'{{ id = "{key_id}", secret = "{generate_secret(os.urandom)}" }},'
        print(ROTATION_MESSAGE.format(line=line, place=f"last in `{args.ring} = [ … ]`"))
        return 0
    token, expires = generate_secret(os.urandom), now + args.expires if args.expires else None
    scopes = ", ".join(quote_toml(scope) for scope in args.scope)
    until = f", expires = {expires:%Y-%m-%dT%H:%M:%SZ}" if expires else ""
    sha256 = hash_api_key(token).hex()
    line = f'{{ id = "{key_id}", sha256 = "{sha256}", scopes = [{scopes}]{until} }},'
    print(API_KEY_MESSAGE.format(key=token, tenant=args.tenant or "NAME", line=line))
    return 0


def _generate_key_id(now: datetime) -> str:
    """Return an id that begins with the date, so that it shows the age of its key."""
    return f"{now:%Y-%m-%d}-{secrets.token_hex(2)}"


def _parse_tenant_name(text: str) -> str:
    if not re.fullmatch(TENANT_NAME_PATTERN, text):
        raise argparse.ArgumentTypeError("use lower-case letters, digits and hyphens, at most 32")
    return text


def _parse_days(text: str) -> timedelta:
    if not re.fullmatch(r"[1-9]\d{0,3}d", text, re.ASCII):
        raise argparse.ArgumentTypeError("write days, like 90d")
    return timedelta(int(text[:-1]))
