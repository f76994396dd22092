"""What `audit search`, `show`, `tail` and `stats` do: questions to the log, put by a person."""

import argparse
import asyncio
import getpass
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from otp_service.app import Application
from otp_service.audit.query.live_tail import followed
from otp_service.audit.query.merged_scan import order
from otp_service.audit.query.reader import Asked
from otp_service.audit.reports.anomalies import anomalies
from otp_service.audit.reports.event_record import holds_number, plain, told_by
from otp_service.audit.reports.stats import Stats
from otp_service.audit.reports.timeline import story
from otp_service.cli.command import CommandError, instant, json_text
from otp_service.cli.common import number_in, read_lines, running_settings
from otp_service.cli.numbers import CALLER, opened
from otp_service.cli.tables import EVENTS, event_row, line, overview_lines, overview_plain, table
from otp_service.core.challenge import partition_of
from otp_service.core.errors import InvalidRequest
from otp_service.core.ip_address import read_address
from otp_service.core.limits import DAY
from otp_service.core.log_entry import Entry, rfc3339
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.policy import SECOND
from otp_service.store.event_streams import RedisStreams


PAUSE = 1.0
"""Seconds between two looks for new events."""


def search(known: argparse.Namespace) -> int:
    """Show events, newest first."""
    return asyncio.run(_search(known, _asked(known, _now())))


def show(known: argparse.Namespace) -> int:
    """Tell one challenge's story."""
    return asyncio.run(_show(known))


def tail(known: argparse.Namespace) -> int:
    """Show events as they come."""
    asyncio.run(_tail(known))
    return 0


def stats(known: argparse.Namespace) -> int:
    """Count what happened."""
    asyncio.run(_stats(known, _now()))
    return 0


# ------------------------------------------------------------------------------- what is asked


def _now() -> int:
    return time.time_ns() // 1_000_000


def _asked(known: argparse.Namespace, now: int) -> Asked:
    return {
        "since": None if known.since is None else instant(known.since, now),
        "until": None if known.until is None else instant(known.until, now),
        "type": known.type,
        "tenant": known.tenant,
        "challenge": known.challenge,
        "address": None if known.ip is None else _address(known.ip),
        "number": _number(known),
    }


def _address(text: str) -> str:
    try:
        return str(read_address(text))
    except InvalidRequest:
        raise CommandError("--ip is an address like 203.0.113.9 or 2001:db8::9.") from None


def _number(known: argparse.Namespace) -> PhoneNumber | None:
    """Return the number on standard input, if one is asked for."""
    if known.reason is not None and holds_number(known.reason):
        raise CommandError("the reason may hold a number, and the record is to hold none.")
    if known.number is None:
        return None
    lines = [text for _, text in read_lines()]
    if len(lines) != 1:
        raise CommandError("write one number to standard input, like +447400123456.")
    return number_in(lines[0], fictitious=True)


# ------------------------------------------------------------------------------- how it is found


@asynccontextmanager
async def _opened(known: argparse.Namespace) -> AsyncIterator[Application]:
    """Give the service; say afterwards what of the archive could not be read."""
    folder = getattr(known, "archive", None)
    if folder is not None and not folder.is_dir():
        raise CommandError(f"there is no folder {folder}.")
    async with opened(running_settings(known.config), archive=folder) as app:
        yield app
        if app.archive and app.archive.unreadable:
            print(
                f"{app.archive.unreadable} lines of the archive cannot be read; "
                "'otp-service audit verify' says which.",
                file=sys.stderr,
            )


async def _search(known: argparse.Namespace, asked: Asked) -> int:
    async with _opened(known) as app:
        reader, found = app.reader(), list[Entry]()
        has_more = False
        async for entry in reader.entries(**asked):
            if has_more := len(found) == known.limit:
                break
            found.append(entry)
        if phone := asked.get("number"):
            await app.telling.looked_up(
                phone,
                len(found),
                tenant=asked.get("tenant"),
                key_id=CALLER.key_id,
                request=CALLER.request,
                by=plain(getpass.getuser()),
                reason=known.reason and plain(known.reason),
            )
        found.sort(key=order, reverse=True)
        shown = [reader.shown(entry) for entry in found]
    if known.json:
        for event in shown:
            print(json_text(event))
    else:
        print("\n".join(table([EVENTS, *map(event_row, shown)])) if shown else "Nothing was found.")
    if has_more:
        print(f"These are the newest {known.limit}: --limit or --until.", file=sys.stderr)
    return 0


async def _show(known: argparse.Namespace) -> int:
    if partition_of(known.challenge) is None:
        raise CommandError("that is no challenge's id: they are like c07-5d41….")
    found = []
    async with _opened(known) as app:
        reader = app.reader()
        async for entry in reader.entries(challenge=known.challenge):
            told = told_by(entry) if reader.is_ours(entry) else None
            if told is None:
                print("An event that no worker told is left out.", file=sys.stderr)
                continue
            found.append(told)
            if told.type == "otp.issued":
                break  # nothing is older
    if not found:
        raise CommandError("nothing is known of this challenge.")
    print("\n".join(story(found[::-1], _now())))
    return 0


async def _tail(known: argparse.Namespace) -> None:
    async with _opened(known) as app:
        reader, streams = app.reader(), RedisStreams(app.link, app.store.names)
        if not known.json:
            print(line(EVENTS))
        async for entry in followed(streams, lambda: asyncio.sleep(PAUSE), last=known.last):
            shown = reader.shown(entry)
            print(json_text(shown) if known.json else line(event_row(shown)), flush=True)


async def _stats(known: argparse.Namespace, now: int) -> None:
    until = now if known.until is None else instant(known.until, now)
    since = until - DAY * SECOND if known.since is None else instant(known.since, now)
    during, before = await _counted(known, since, until)
    looked_at, strange = during.overview(), anomalies(during.overview(), before.overview())
    if known.json:
        found = {"since": rfc3339(since), "until": rfc3339(until), **overview_plain(looked_at)}
        print(json_text(found | {"anomalies": strange}))
    else:
        head = f"From {_minute(since)} until {_minute(until)} UTC:"
        print("\n".join(overview_lines(looked_at, known.by, strange, head)))


async def _counted(known: argparse.Namespace, since: int, until: int) -> tuple[Stats, Stats]:
    """Return what happened in this time, and in as long a one before it."""
    during, before, left_out = Stats(), Stats(), 0
    async with _opened(known) as app:
        reader = app.reader()
        async for entry in reader.entries(since=since - (until - since), until=until):
            told = told_by(entry) if reader.is_ours(entry) else None
            if told is None:
                left_out += 1
            else:
                (during if told.at >= since else before).add(told)
    if left_out:
        print(f"{left_out} events that no worker told are left out.", file=sys.stderr)
    return during, before


def _minute(at: int) -> str:
    return rfc3339(at)[:16].replace("T", " ")
