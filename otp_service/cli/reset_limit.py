"""`reset-limit`: empty the bucket of a limit that counts more than a person or a number."""

import argparse
import asyncio
import re

import phonenumbers

from otp_service.cli import common
from otp_service.cli.command import CommandError, Subparsers, add_command
from otp_service.cli.numbers import CLI_CALLER, create_cli_app
from otp_service.core.limits import WIDE_LIMITS, Bucket, Limit, WideSubject
from otp_service.settings import Settings


def register_commands(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "reset-limit", run_reset_limit, takes_dev_folder=True)
    parser.add_argument("limit", metavar="LIMIT", help=", ".join(sorted(WIDE_LIMITS)))
    parser.add_argument("subject", nargs="?", metavar="COUNTRY|PREFIX", help="see the examples")
    parser.add_argument("--tenant", help="whose bucket it is, where each tenant has one")


def run_reset_limit(args: argparse.Namespace) -> int:
    """Empty the bucket of a country, a prefix, a tenant or the whole service.

    For example after a wrong clock of Redis, or after the limit was raised: callers
    then do not wait until the bucket has drained. The event otp.limit_reset
    records it. Limits of one number, account or address are not reset: 'unlock'
    resets the failures of a number, 'accounts unlock' those of an account, and the
    others end with their windows.

    examples:
      otp-service reset-limit SendsOverall
      otp-service reset-limit SendsPerTenant --tenant shop
      otp-service reset-limit SendsPerCountry GB
      otp-service reset-limit SendsPerCountryAndTenant GB --tenant shop
      otp-service reset-limit SendsPerPrefix +44740012
    """
    settings = common.read_running_settings(args.config)
    bucket = _parse_bucket(settings, args.limit, args.subject, args.tenant)
    asyncio.run(_reset_limit(settings, bucket))
    whose = " ".join(filter(None, (bucket.subject, bucket.tenant and f"of {bucket.tenant}")))
    print(f"{bucket.limit}{' ' if whose else ''}{whose} is empty")
    return 0


async def _reset_limit(settings: Settings, bucket: Bucket) -> None:
    async with create_cli_app(settings) as app:
        await app.service.numbers.reset_limit(CLI_CALLER, bucket)


def _parse_bucket(settings: Settings, name: str, subject: str | None, tenant: str | None) -> Bucket:
    """Return the bucket that the arguments name. Raises CommandError with the remedy."""
    if name not in set(WIDE_LIMITS):
        raise CommandError(
            f"{name} cannot be reset. The limits that can are {', '.join(sorted(WIDE_LIMITS))}. "
            "For the failures of a number use 'otp-service unlock', and for those of an account "
            "'otp-service accounts unlock'."
        )
    limit = Limit(name)
    subject_kind, has_tenant = WIDE_LIMITS[limit]
    _check_tenant(settings, limit, tenant, has_tenant=has_tenant)
    return Bucket(limit, tenant or "", _parse_subject(limit, subject_kind, subject))


def _check_tenant(
    settings: Settings, limit: Limit, tenant: str | None, *, has_tenant: bool
) -> None:
    if has_tenant and tenant is None:
        raise CommandError(f"{limit} has a bucket for each tenant: add --tenant.")
    if not has_tenant and tenant is not None:
        raise CommandError(f"{limit} counts all tenants in one bucket: leave out --tenant.")
    if tenant is not None and tenant not in settings.tenant_settings:
        names = ", ".join(sorted(settings.tenant_settings))
        raise CommandError(f"there is no tenant of this name. The tenants are {names}.")


def _parse_subject(limit: Limit, kind: WideSubject, text: str | None) -> str:
    if kind is WideSubject.NONE:
        if text is not None:
            raise CommandError(f"{limit} has one bucket: leave out {text!r}.")
        return ""
    if kind is WideSubject.COUNTRY:
        country = (text or "").upper()
        if country not in {*phonenumbers.SUPPORTED_REGIONS, "XK"}:
            raise CommandError(f"{limit} counts a country: write its two letters, like GB.")
        return country
    if not re.fullmatch(r"\+[1-9][0-9]{2,10}", text or "", re.ASCII):
        raise CommandError(
            f"{limit} counts a prefix: write a number in E.164 form without its last four digits, "
            "like +44740012."
        )
    return str(text)
