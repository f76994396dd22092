"""Runs `audit search`, `show`, `tail` and `stats`."""

import argparse
import asyncio
import functools
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

from otp_service.app import Application
from otp_service.audit.exports.event_csv import format_csv
from otp_service.audit.query.live_tail import follow_entries
from otp_service.audit.query.merged_scan import sort_key
from otp_service.audit.query.optional_streams import OptionalEventStreams
from otp_service.audit.query.reader import EventQuery, EventReader
from otp_service.audit.reports.account_timeline import render_account_timeline
from otp_service.audit.reports.anomalies import describe_baseline, find_anomalies
from otp_service.audit.reports.event_record import build_event_record
from otp_service.audit.reports.stats import StatsCollector
from otp_service.audit.reports.timeline import render_timeline
from otp_service.cli import tables
from otp_service.cli.audit import triage
from otp_service.cli.audit.criteria_options import parse_criteria
from otp_service.cli.audit.person_search import read_person, record_lookup
from otp_service.cli.command import (
    DEFAULT_CONFIG_PATH,
    CommandError,
    format_json,
    parse_instant,
)
from otp_service.cli.common import (
    read_running_settings,
)
from otp_service.cli.numbers import create_cli_app
from otp_service.clock import now_ms
from otp_service.core.challenge import parse_partition
from otp_service.core.log_entry import Entry
from otp_service.core.timestamps import DAY_MS, format_rfc3339
from otp_service.store.event_streams import RedisEventStreams


POLL_INTERVAL_SECONDS = 1.0

NEWEST_MISSING_REMARK = """\
The newest events are missing, because they are only in Redis: {}."""

UNKNOWN_TENANT_REMARK = """\
Note: no tenant is called {!r}: the settings have {}. Events of a removed tenant are searched."""


def search_events(args: argparse.Namespace) -> int:
    # Reads standard input before the event loop runs, in which Ctrl-C would not interrupt the read.
    return asyncio.run(_print_events(args, _build_query(args, now_ms())))


def _build_query(args: argparse.Namespace, now: int) -> EventQuery:
    return cast("EventQuery", parse_criteria(args, now).to_filters() | read_person(args))


class QuerySession(NamedTuple):
    """The service, and a reader of its events for one command."""

    app: Application
    reader: EventReader


@asynccontextmanager
async def _open_reader(args: argparse.Namespace) -> AsyncIterator[QuerySession]:
    """Open a reader that does without Redis where there is an archive; report what is missing."""
    async with _open_app(args) as app:
        streams = OptionalEventStreams(RedisEventStreams(app.script_client, app.store.key_names))
        yield QuerySession(app, app.create_reader(streams if app.archive_reader else None))
        if streams.missing_because:
            print(NEWEST_MISSING_REMARK.format(streams.missing_because), file=sys.stderr)


@asynccontextmanager
async def _open_app(args: argparse.Namespace) -> AsyncIterator[Application]:
    """Open the service; report an unknown tenant, and afterwards the unreadable lines.

    An unknown tenant is no error: the archive has the events of tenants that were removed.
    """
    folder = getattr(args, "archive", None)
    if folder is not None and not folder.is_dir():
        raise CommandError(f"there is no folder {folder}.")
    settings = read_running_settings(args.config)
    tenant = getattr(args, "tenant", None)
    if tenant is not None and tenant not in settings.tenant_settings:
        names = ", ".join(sorted(settings.tenant_settings))
        print(UNKNOWN_TENANT_REMARK.format(tenant, names), file=sys.stderr)
    async with create_cli_app(settings, archive=folder) as app:
        yield app
        if app.archive_reader and app.archive_reader.unreadable_lines:
            count, command = app.archive_reader.unreadable_lines, "otp-service audit verify"
            text = f"{count} lines of the archive cannot be read; '{command}' names them."
            print(text, file=sys.stderr)


async def _print_events(args: argparse.Namespace, query: EventQuery) -> int:
    found = list[Entry]()
    async with _open_reader(args) as (app, reader):
        has_more = False
        async for entry in reader.iterate_entries(**query):
            if has_more := len(found) == args.limit:
                break
            found.append(entry)
        if query.get("number") or query.get("account"):
            await record_lookup(app, args, query, len(found))
        found.sort(key=sort_key, reverse=True)
        shown = [reader.decode_event(entry).to_public() for entry in found]
    _print_in_format(args, shown, app.settings.pumping.currency)
    if has_more:
        print(f"These are the newest {args.limit}: --limit or --until.", file=sys.stderr)
    return 0


def _print_in_format(
    args: argparse.Namespace, events: Sequence[dict[str, Any]], currency: str
) -> None:
    if args.json:
        for event in events:
            print(format_json(event))
    elif args.csv:
        print(format_csv(events), end="")
    else:
        rows = [tables.EVENT_HEADER, *(tables.format_event(event, currency) for event in events)]
        print("\n".join(tables.format_table(rows)) if events else "Nothing was found.")


def show_timeline(args: argparse.Namespace) -> int:
    if (args.challenge is None) == (args.account is None):
        raise CommandError("name one challenge, like c07-5d41…, or write --account -.")
    if args.account is not None:
        query: EventQuery = {"tenant": args.tenant, **read_person(args)}
    elif parse_partition(args.challenge) is None:
        raise CommandError("invalid challenge id: write one like c07-5d41….")
    else:
        query = {"challenge": args.challenge}
    return asyncio.run(_print_timeline(args, query))


async def _print_timeline(args: argparse.Namespace, query: EventQuery) -> int:
    found = []
    async with _open_reader(args) as (app, reader):
        async for entry in reader.iterate_entries(**query):
            record = build_event_record(reader.decode_event(entry))
            if record is None:
                print("An event with an invalid MAC is omitted.", file=sys.stderr)
                continue
            found.append(record)  # also after otp.issued, which may be a copy of an older one
        if args.account is not None:
            await record_lookup(app, args, query, len(found))
    if not found:
        kind = "challenge" if args.challenge else "account"
        raise CommandError(f"this {kind} has no events.")
    events, currency = found[::-1], app.settings.pumping.currency
    if args.account is None:
        print("\n".join(render_timeline(events, now_ms(), currency)))
    else:
        print("\n".join(render_account_timeline(events, currency)))
    return 0


async def print_new_events(args: argparse.Namespace) -> int:
    async with _open_app(args) as app:
        reader = app.create_reader()
        streams = RedisEventStreams(app.script_client, app.store.key_names)

        def format_row(event: dict[str, Any]) -> str:
            return tables.format_row(tables.format_event(event, app.settings.pumping.currency))

        if not args.json:
            print(tables.format_row(tables.EVENT_HEADER))
        wait = functools.partial(asyncio.sleep, POLL_INTERVAL_SECONDS)
        async for entry in follow_entries(streams, wait, count=args.last):
            shown = reader.decode_event(entry).to_public()
            print(format_json(shown) if args.json else format_row(shown), flush=True)
    return 0


async def print_stats(args: argparse.Namespace) -> int:
    now = now_ms()
    until = now if args.until is None else parse_instant(args.until, now)
    since = until - DAY_MS if args.since is None else parse_instant(args.since, now)
    currency = read_running_settings(args.config).pumping.currency
    during, before = (stats.build_overview() for stats in await _count_events(args, since, until))
    anomalies, baseline = find_anomalies(during, before, currency), describe_baseline(before)
    if args.json:
        period = {"since": format_rfc3339(since), "until": format_rfc3339(until)}
        period["currency"] = currency
        found = triage.to_json_members(anomalies, baseline, since, until)
        print(format_json(period | tables.to_json_members(during) | found))
    else:
        head = f"From {_format_minute(since)} until {_format_minute(until)} UTC:"
        lines = triage.format_triage(anomalies, baseline, since, until, _list_places(args))
        print("\n".join(tables.format_overview(during, args.by, head, lines, currency)))
    return 0


def _list_places(args: argparse.Namespace) -> list[str]:
    """Return the options that name another configuration or archive than the default."""
    config = [] if args.config == DEFAULT_CONFIG_PATH else [f"--config={args.config}"]
    return config if args.archive is None else [*config, f"--archive={args.archive}"]


async def _count_events(
    args: argparse.Namespace, since: int, until: int
) -> tuple[StatsCollector, StatsCollector]:
    """Return the statistics of this period, and of the equal period before it."""
    during, before = StatsCollector(min(until, now_ms())), StatsCollector(since)
    left_out = 0
    async with _open_reader(args) as (_, reader):
        async for entry in reader.iterate_entries(since=since - (until - since), until=until):
            record = build_event_record(reader.decode_event(entry))
            if record is None:
                left_out += 1
            else:
                (during if record.at >= since else before).add_event(record)
    if left_out:
        print(f"{left_out} events with an invalid MAC are omitted.", file=sys.stderr)
    return during, before


def _format_minute(epoch_ms: int) -> str:
    return format_rfc3339(epoch_ms)[:16].replace("T", " ")
