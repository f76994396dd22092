"""`otp-service accounts …`: unlock the accounts of a tenant.

Accounts are read from standard input only, like numbers: an argument would be stored in the shell's
history and in the list of processes.
"""

import argparse
import asyncio
import sys

from otp_service.cli import common
from otp_service.cli.command import CommandError, Subparsers, add_command
from otp_service.cli.numbers import CLI_CALLER, create_cli_app
from otp_service.core.errors import StoreUnavailable
from otp_service.settings import Settings


def register_commands(subparsers: Subparsers) -> None:
    group = subparsers.add_parser(
        "accounts",
        help="unlock accounts with too many consecutive failures",
        description="An account is the name that a tenant has for a user.",
    )
    inner = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parser = add_command(inner, "unlock", run_unlock, takes_dev_folder=True)
    parser.add_argument("--tenant", required=True, help="the tenant that chose the names")


def run_unlock(args: argparse.Namespace) -> int:
    """End the lock of accounts with too many consecutive failures.

    It is ended at every factor: SMS, authenticator and recovery codes. The failures
    of an hour and of a day are reset too. Accounts are read from standard input, one
    a line, as the tenant writes them in `account`. Repeating it is harmless. Exit
    code 1 if any of them failed.

    examples:
      otp-service accounts unlock --tenant shop < accounts.txt
    """
    settings = common.read_running_settings(args.config)
    if args.tenant not in settings.tenant_settings:
        names = ", ".join(sorted(settings.tenant_settings))
        raise CommandError(f"no tenant is called {args.tenant!r}: the settings have {names}.")
    lines = dict(common.read_stdin_lines("Accounts, one a line; Ctrl-D ends them."))
    if not lines:
        raise CommandError("no account was given: write them to standard input, one a line.")
    return asyncio.run(_unlock_accounts(settings, args.tenant, lines))


async def _unlock_accounts(settings: Settings, tenant: str, lines: dict[int, str]) -> int:
    failed = 0
    async with create_cli_app(settings) as app:
        for line, account in lines.items():
            if not common.is_valid_account(account):
                failed += 1
                print(f"line {line}: {common.INVALID_ACCOUNT_REMEDY}", file=sys.stderr)
                continue
            try:
                await app.service.accounts.unlock_account(CLI_CALLER, tenant, account)
            except StoreUnavailable:
                print(f"Stopped at line {line}; repeat it and the lines after it.", file=sys.stderr)
                raise
            print(f"line {line}: is unlocked at {tenant}", flush=True)
    return min(failed, 1)
