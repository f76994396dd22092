"""`audit search`, `show`, `tail` and `stats`, as they are called; `cli.looking` does them."""

import argparse
from pathlib import Path
from types import ModuleType

from otp_service.cli.command import Subparsers, add_command


def register_commands(subparsers: Subparsers) -> None:
    """Describe the commands."""
    _register_search(subparsers)
    parser = add_command(subparsers, "show", run_show)
    parser.add_argument("challenge", metavar="CHALLENGE", help="its id")
    _add_archive_option(parser)
    parser = add_command(subparsers, "tail", run_tail)
    parser.add_argument("--last", type=int, default=10, metavar="N", help="begin with these (10)")
    parser.add_argument("--json", action="store_true", help="one event a line, for programs")
    parser = add_command(subparsers, "stats", run_stats)
    _add_time_options(parser)
    parser.add_argument(
        "--by", choices=("hour", "country", "provider", "tenant"), default="hour", help="(hour)"
    )
    parser.add_argument("--json", action="store_true", help="everything, for programs")
    _add_archive_option(parser)


def _register_search(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "search", run_search)
    parser.add_argument(
        "--number",
        type=_require_dash,
        metavar="-",
        help="one number, which is read from standard input",
    )
    parser.add_argument("--reason", help="why you look for a number, for the record")
    _add_time_options(parser)
    parser.add_argument("--type", help="of event, like otp.verified")
    parser.add_argument("--tenant", help="whose events")
    parser.add_argument("--challenge", help="its id")
    parser.add_argument("--ip", metavar="ADDRESS", help="the person's, as the tenant gave it")
    parser.add_argument("--limit", type=int, default=1000, metavar="N", help="at most (1000)")
    parser.add_argument("--json", action="store_true", help="one event a line, for programs")
    _add_archive_option(parser)


def _require_dash(text: str) -> str:
    if text != "-":
        raise argparse.ArgumentTypeError("numbers come from standard input alone: give '-'")
    return text


def _add_time_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", metavar="WHEN", help="from then on: '24h' ago, or an instant")
    parser.add_argument("--until", metavar="WHEN", help="up to then: '90m' ago, or an instant")


def _add_archive_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--archive", type=Path, metavar="DIR", help="the folder of the archive ([audit] archive)"
    )


def run_search(args: argparse.Namespace) -> int:
    """Show the events that agree with every filter, newest first.

    Looks through the archive and what Redis has beyond it. A number is read from
    standard input, so that none stands in the shell's history or among the arguments
    of a process; that somebody looked for it, and why, is an event of its own. It is
    found under every pseudonym key that is still there. Times are in UTC.

    examples:
      otp-service audit search --since 24h --type otp.locked
      otp-service audit search --number - --reason INC-4711 --json
      otp-service audit search --ip 203.0.113.9 --until 2026-11-24T09:00:00Z
    """
    return int(_import_query_runner().search_events(args))


def run_show(args: argparse.Namespace) -> int:
    """Tell what happened to one challenge, in order, and how it ended.

    Times are relative to its issue. Exit code 1 if nothing is known of it.

    examples:
      otp-service audit show c07-5d41402abc4b2a76b9719d911017c592
      otp-service audit show c07-5d41402abc4b2a76b9719d911017c592 --config .otp
    """
    return int(_import_query_runner().show_challenge(args))


def run_tail(args: argparse.Namespace) -> int:
    """Show the newest events, and then each as it comes, until Ctrl-C.

    examples:
      otp-service audit tail
      otp-service audit tail --last 0 --json
    """
    return int(_import_query_runner().follow_events(args))


def run_stats(args: argparse.Namespace) -> int:
    """Count what happened in a time, the last 24 hours if none is given.

    VERIFIED is how many of the challenges that were ISSUED in that row had their code
    come back; for a provider, how many of the messages that it took were the newest
    before that. CONVERSION is the one of the other. REFUSED is what was refused before
    anything was compared, folded refusals counted in; REJECTED are wrong codes.

    examples:
      otp-service audit stats --since 7d --by provider
      otp-service audit stats --json
    """
    return int(_import_query_runner().show_stats(args))


def _import_query_runner() -> ModuleType:
    from otp_service.cli.audit import query_runner  # noqa: PLC0415  # needs the service; auditors have none

    return query_runner
