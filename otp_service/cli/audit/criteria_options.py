"""The filters of `audit search` and `audit export`: the options, and what they select.

The names are those of `EventCriteria`, with hyphens.
"""

import argparse

from otp_service.audit.query.client_ip_filter import parse_client_ip_filter
from otp_service.audit.query.criteria import EventCriteria
from otp_service.cli.command import CommandError, parse_instant
from otp_service.core.errors import InvalidRequest


def add_criteria_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every filter that needs neither the service nor its keys."""
    add = parser.add_argument
    add_time_options(parser)
    add("--type", help="type of event, like otp.verified, or several with commas between them")
    add("--event-reason", metavar="REASON", help="reason of the event, like attempts_exhausted")
    text = "limit that refused, or would have in record mode, like UnverifiedPerRange"
    add("--event-limit", metavar="LIMIT", help=text)
    add("--tenant", help="tenant of the events")
    add("--challenge", metavar="ID", help="id of the challenge")
    text = "pseudonym of a number, an account, a prefix or an operator block, as events have it"
    add("--pseudonym", metavar="NAME", help=text)
    add("--country", help="region of the number, like GB")
    add("--provider", help="provider of the message, receipt or callback")
    text = "address that the tenant sent for the user's device; IPv6 finds its /64"
    add("--client-ip", metavar="ADDRESS", help=text)
    text = "codes that came from another client IP than the challenge was issued for"
    add("--client-ip-changed", action="store_true", default=None, help=text)


def add_person_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the person in a search, and of its reason."""
    text = "read one number from standard input"
    parser.add_argument("--number", type=_require_dash, metavar="-", help=text)
    add_account_option(parser)
    text = "reason for the search for a person, recorded in the audit log"
    parser.add_argument("--reason", help=text)


def add_account_option(parser: argparse.ArgumentParser) -> None:
    text = "read one account from standard input"
    parser.add_argument("--account", type=_require_dash, metavar="-", help=text)


def add_time_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", metavar="WHEN", help="start: an age like '24h', or an instant")
    parser.add_argument("--until", metavar="WHEN", help="end: an age like '90m', or an instant")


def parse_criteria(args: argparse.Namespace, now: int) -> EventCriteria:
    """Return what the options select; `now` is in milliseconds since 1970. Raises CommandError."""
    if args.client_ip is not None:
        _check_client_ip(args.client_ip)
    return EventCriteria(
        type=args.type,
        event_reason=args.event_reason,
        event_limit=args.event_limit,
        tenant=args.tenant,
        challenge=args.challenge,
        pseudonym=args.pseudonym,
        country=args.country,
        provider=args.provider,
        client_ip=args.client_ip,
        client_ip_changed=args.client_ip_changed,
        since=None if args.since is None else parse_instant(args.since, now),
        until=None if args.until is None else parse_instant(args.until, now),
    )


def _require_dash(text: str) -> str:
    if text != "-":
        raise argparse.ArgumentTypeError(
            "numbers and accounts are read from standard input only: write '-'"
        )
    return text


def _check_client_ip(text: str) -> None:
    try:
        parse_client_ip_filter(text)
    except InvalidRequest:
        raise CommandError(
            "--client-ip must be an address like 203.0.113.9 or 2001:db8::9, or an IPv6 network of"
            " 64 bits like 2001:db8::/64."
        ) from None
