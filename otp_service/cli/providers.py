"""`providers`: how each of them does, as all workers see it, and how many codes come back."""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from otp_service.app import Application
from otp_service.app.provider_health_sync import remembered_by_all
from otp_service.audit.query.reader import Reader
from otp_service.cli.command import Subparsers, command
from otp_service.cli.common import running_settings
from otp_service.cli.numbers import opened
from otp_service.cli.tables import table
from otp_service.core.log_entry import rfc3339
from otp_service.sms.provider_status import InCountry, Overview, overview


HOUR = 3600 * 1000
PAGES = 20
"""Of events, 2000 each, newest first: beyond them the hour is cut short, and that is said."""

HEAD = ("PROVIDER", "SHARE", "COUNTRY", "BREAKER", "FAILED", "VERIFIED", "WHY, NEWEST FIRST")
NOTHING = "Nothing is remembered against any provider, and nothing was sent in the last hour."

Where = tuple[str, str]
"""Provider and country."""


class Conversion(msgspec.Struct):
    """How many codes came back of those that were sent, in the last hour."""

    sent: Counter[Where]
    verified: Counter[Where]
    is_whole: bool
    """Whether the hour's events were all looked at."""


def add(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = command(subparsers, "providers", run)
    parser.add_argument("--json", action="store_true", help="for machines; instants in RFC 3339")


def run(known: argparse.Namespace) -> int:
    """Show how each provider does, by country.

    SHARE is what its receipts have left it of each share that is configured. BREAKER
    says whether it stands at the end of the list there, and until when; FAILED counts
    its last outcomes, ten at most, since all was well for the last time. VERIFIED is
    how many codes were typed in, of the messages that it took in the last hour.
    Nothing is sent or changed.

    examples:
      otp-service providers
      otp-service providers --json
    """
    now = time.time_ns() // 1_000_000
    settings = running_settings(known.config)
    found, conversion = asyncio.run(_look(opened(settings), now))
    if known.json:
        print(msgspec.json.format(msgspec.json.encode(_plain(found, conversion, now))).decode())
    elif not any(one.countries or one.rests_until for one in found):
        print(NOTHING)
    else:
        print("\n".join(table([HEAD, *_rows(found, conversion)])))
        if not conversion.is_whole:
            print("VERIFIED is of a part of the hour: there were more events than are looked at.")
    return 0


async def _look(app: Application, now: int) -> tuple[Sequence[Overview], Conversion]:
    async with app:
        _, memory = await remembered_by_all(app.store)
        conversion = await converted(app.reader(), now - HOUR)
    found = overview(memory, app.settings.providers, now)
    return [_with_peace(one, conversion) for one in found], conversion


def _with_peace(one: Overview, conversion: Conversion) -> Overview:
    """Return it with the countries in which nothing has failed: the memory has none of them."""
    known = {there.country for there in one.countries}
    sent = sorted(country for name, country in conversion.sent if name == one.provider)
    peaceful = (InCountry(country, "closed", None, 0, 0, ()) for country in sent)
    added = [there for there in peaceful if there.country not in known]
    return msgspec.structs.replace(one, countries=(*one.countries, *added))


async def converted(reader: Reader, since: int) -> Conversion:
    """Return what the log says, newest first: a success counts for the newest message before it."""
    found = Conversion(Counter(), Counter(), is_whole=False)
    verified, cursor = set[str](), None
    for _ in range(PAGES):
        events, cursor = await reader.page(since=since, limit=2000, cursor=cursor)
        for event in events:
            _count(event, found, verified)
        if cursor is None:
            found.is_whole = True
            break
    return found


def _count(event: Mapping[str, Any], found: Conversion, verified: set[str]) -> None:
    challenge = event.get("challenge", "")
    if event["type"] == "otp.verified":
        verified.add(challenge)
    elif event["type"] == "otp.sent":
        where = event["provider"], event.get("country", "")
        found.sent[where] += 1
        if challenge in verified:
            verified.remove(challenge)
            found.verified[where] += 1


def _rows(found: Sequence[Overview], conversion: Conversion) -> Iterator[tuple[str, ...]]:
    for one in found:
        rests = f"rests until {_clock(one.rests_until)}" if one.rests_until else ""
        name, share = one.provider, f"{one.share:.0%}"
        if rests or not one.countries:
            yield name, share, "-", rests or "-", "-", "-", ""
            name = share = ""
        for there in one.countries:
            where = one.provider, there.country
            came_back = f"{conversion.verified[where]} of {conversion.sent[where]}"
            failed = f"{there.failed} of {there.seen}"
            yield name, share, there.country, _breaker(there), failed, came_back, _why(there)
            name = share = ""


def _breaker(there: InCountry) -> str:
    return f"{there.state} until {_clock(there.until)}" if there.until else there.state


def _why(there: InCountry) -> str:
    counts = Counter(there.reasons)  # keeps their order
    return ", ".join(f"{why} x{times}" if times > 1 else why for why, times in counts.items())


def _clock(at: int | None) -> str:
    return rfc3339(at or 0)[11:19] + "Z"


def _plain(found: Sequence[Overview], conversion: Conversion, now: int) -> dict[str, object]:
    def country(one: Overview, there: InCountry) -> dict[str, object]:
        where = one.provider, there.country
        return {
            **msgspec.structs.asdict(there),
            "until": rfc3339(there.until) if there.until else None,
            "sent": conversion.sent[where],
            "verified": conversion.verified[where],
        }

    providers = [
        {
            **msgspec.structs.asdict(one),
            "rests_until": rfc3339(one.rests_until) if one.rests_until else None,
            "countries": [country(one, there) for there in one.countries],
        }
        for one in found
    ]
    return {"at": rfc3339(now), "is_whole_hour": conversion.is_whole, "providers": providers}
