"""`audit search`, `show`, `tail` and `stats`: their arguments; `query_runner` runs them."""

import argparse
import asyncio
from pathlib import Path
from types import ModuleType

from otp_service.cli.audit.criteria_options import (
    add_account_option,
    add_criteria_options,
    add_person_options,
    add_time_options,
)
from otp_service.cli.command import Subparsers, add_command


def register_commands(subparsers: Subparsers) -> None:
    _register_search(subparsers)
    parser = add_command(subparsers, "show", run_show, takes_dev_folder=True)
    parser.add_argument("challenge", nargs="?", metavar="CHALLENGE", help="id of the challenge")
    add_account_option(parser)
    parser.add_argument("--tenant", help="only the account's events at this tenant")
    parser.add_argument(
        "--reason", help="reason for the search for an account, recorded in the log"
    )
    _add_archive_option(parser)
    add = add_command(subparsers, "tail", run_tail, takes_dev_folder=True).add_argument
    add("--last", type=int, default=10, metavar="N", help="start with N events (10)")
    add("--json", action="store_true", help="print JSON, one event a line")
    parser = add_command(subparsers, "stats", run_stats, takes_dev_folder=True)
    add_time_options(parser)
    groups = ("hour", "country", "provider", "tenant")
    parser.add_argument("--by", choices=groups, default="hour", help="rows of the table (hour)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    _add_archive_option(parser)


def _register_search(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "search", run_search, takes_dev_folder=True)
    add_person_options(parser)
    add_criteria_options(parser)
    add = parser.add_argument
    add("--limit", type=int, default=1000, metavar="N", help="maximum of events (1000)")
    add_format = parser.add_mutually_exclusive_group().add_argument
    add_format("--json", action="store_true", help="print JSON, one event a line")
    add_format("--csv", action="store_true", help="print CSV with a header, for spreadsheets")
    _add_archive_option(parser)


def _add_archive_option(parser: argparse.ArgumentParser) -> None:
    text = "the folder of the archive ([audit] archive)"
    parser.add_argument("--archive", type=Path, metavar="DIR", help=text)


def run_search(args: argparse.Namespace) -> int:
    """Show the events that match every filter, newest first.

    Searches the archive and the newer events in Redis. A number and an account are read
    from standard input, so that the shell's history and the list of processes do not show
    them; if both are asked for, the number is the first line, and events must match both.
    Each search for one is recorded as an event, with its reason. They are found under
    every pseudonym key that the service still has. A pseudonym finds the events of one
    number, account or prefix under one key, and needs no record. Times are in UTC.

    examples:
      otp-service audit search --since 24h --type otp.locked
      otp-service audit search --number - --reason INC-4711 --json
      otp-service audit search --account - --reason INC-4711 --tenant shop
      otp-service audit search --client-ip 203.0.113.9 --until 2026-11-24T09:00:00Z
      otp-service audit search --type otp.verified --client-ip-changed --csv
      otp-service audit search --pseudonym 1:6541e6d0e2b5f6a80c1d7e4f9a3b2c5d
    """
    return int(_import_query_runner().search_events(args))


def run_show(args: argparse.Namespace) -> int:
    """Show the timeline of one challenge, and how it ended, or of one account.

    Times of a challenge are relative to its issue. The timeline of an account has its
    authenticators, recovery codes and challenges; the search for it is recorded as an
    event. Exit code 1 if there are no events.

    examples:
      otp-service audit show c07-5d41402abc4b2a76b9719d911017c592
      otp-service audit show c07-5d41402abc4b2a76b9719d911017c592 --config .otp
      otp-service audit show --account - --tenant shop --reason INC-4711
    """
    return int(_import_query_runner().show_timeline(args))


def run_tail(args: argparse.Namespace) -> int:
    """Show the newest events, and then each new one, until Ctrl-C.

    examples:
      otp-service audit tail
      otp-service audit tail --last 0 --json
    """
    return int(asyncio.run(_import_query_runner().print_new_events(args)))


def run_stats(args: argparse.Namespace) -> int:
    """Count events in a period, by default the last 24 hours.

    The first table counts SMS challenges alone; authenticators and recovery codes have a
    table of their own, with the column FACTOR. What people answered (STOP, START, HELP)
    is counted by day, provider and own number. Refusals by reason, and the numbers,
    accounts and addresses with most of them, are of every factor.

    VERIFIED is how many of the challenges that were ISSUED in the row were verified; for
    a provider, how many of its SENT messages were the newest one before a success.
    CONVERSION is the ratio of the two. REFUSED counts calls that were refused before a
    code was compared, including folded events; REJECTED counts wrong codes.

    examples:
      otp-service audit stats --since 7d --by provider
      otp-service audit stats --json
    """
    return int(asyncio.run(_import_query_runner().print_stats(args)))


def _import_query_runner() -> ModuleType:
    from otp_service.cli.audit import query_runner  # noqa: PLC0415  # needs the service, which auditors do not have

    return query_runner
