"""`providers`: how each of them does, as all workers see it, and how many codes come back."""

import argparse
import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from otp_service.app import Application
from otp_service.app.provider_health_sync import load_provider_health
from otp_service.audit.query.reader import EventReader
from otp_service.cli.command import Subparsers, add_command
from otp_service.cli.common import read_running_settings
from otp_service.cli.numbers import create_cli_app
from otp_service.cli.tables import format_table
from otp_service.clock import now_ms
from otp_service.core.conversion import ConversionMatcher
from otp_service.core.timestamps import HOUR_MS, format_rfc3339
from otp_service.sms.provider_status import CountryStatus, ProviderStatus, list_provider_statuses


MAX_PAGES = 20
"""Of events, 2000 each, newest first: beyond them the hour is cut short, and that is said."""

TABLE_HEADER = (
    "PROVIDER",
    "SHARE",
    "COUNTRY",
    "BREAKER",
    "FAILED",
    "VERIFIED",
    "WHY, NEWEST FIRST",
)
NO_DATA_MESSAGE = (
    "Nothing is remembered against any provider, and nothing was sent in the last hour."
)

ProviderCountry = tuple[str, str]
"""Provider and country."""


class Conversion(msgspec.Struct):
    """How many codes came back of those that were sent, in the last hour."""

    sent: Counter[ProviderCountry]
    verified: Counter[ProviderCountry]
    is_complete: bool
    """Whether the hour's events were all looked at."""


def register_commands(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = add_command(subparsers, "providers", run_providers)
    parser.add_argument("--json", action="store_true", help="for machines; instants in RFC 3339")


def run_providers(args: argparse.Namespace) -> int:
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
    now = now_ms()
    settings = read_running_settings(args.config)
    found, conversion = asyncio.run(_load_statuses(create_cli_app(settings), now))
    if args.json:
        print(
            msgspec.json.format(
                msgspec.json.encode(_to_json_members(found, conversion, now))
            ).decode()
        )
    elif not any(one.countries or one.rests_until for one in found):
        print(NO_DATA_MESSAGE)
    else:
        print("\n".join(format_table([TABLE_HEADER, *_format_rows(found, conversion)])))
        if not conversion.is_complete:
            print("VERIFIED is of a part of the hour: there were more events than are looked at.")
    return 0


async def _load_statuses(app: Application, now: int) -> tuple[Sequence[ProviderStatus], Conversion]:
    async with app:
        _, memory = await load_provider_health(app.store)
        conversion = await count_conversions(app.create_reader(), now - HOUR_MS)
    found = list_provider_statuses(memory, app.settings.providers, now)
    return [_add_healthy_countries(one, conversion) for one in found], conversion


def _add_healthy_countries(status: ProviderStatus, conversion: Conversion) -> ProviderStatus:
    """Return it with the countries in which nothing has failed: the memory has none of them."""
    known = {there.country for there in status.countries}
    sent = sorted(country for name, country in conversion.sent if name == status.provider)
    peaceful = (CountryStatus(country, "closed", None, 0, 0, ()) for country in sent)
    added = [there for there in peaceful if there.country not in known]
    return msgspec.structs.replace(status, countries=(*status.countries, *added))


async def count_conversions(reader: EventReader, since: int) -> Conversion:
    """Return what the log says, newest first: a success counts for the newest message before it."""
    found = Conversion(Counter(), Counter(), is_complete=False)
    matcher, cursor = ConversionMatcher(), None
    for _ in range(MAX_PAGES):
        events, cursor = await reader.read_page(since=since, limit=2000, cursor=cursor)
        for event in events:
            _count_event(event, found, matcher)
        if cursor is None:
            found.is_complete = True
            break
    return found


def _count_event(
    event: Mapping[str, Any], conversion: Conversion, matcher: ConversionMatcher
) -> None:
    challenge = event.get("challenge", "")
    if event["type"] == "otp.verified":
        matcher.add_verified(challenge, repeated=event.get("repeated", False))
    elif event["type"] == "otp.sent":
        key = event["provider"], event.get("country", "")
        conversion.sent[key] += 1
        conversion.verified[key] += matcher.add_sent(challenge)


def _format_rows(
    found: Sequence[ProviderStatus], conversion: Conversion
) -> Iterator[tuple[str, ...]]:
    for one in found:
        rests = f"rests until {_format_time(one.rests_until)}" if one.rests_until else ""
        name, share = one.provider, f"{one.share:.0%}"
        if rests or not one.countries:
            yield name, share, "-", rests or "-", "-", "-", ""
            name = share = ""
        for there in one.countries:
            where = one.provider, there.country
            came_back = f"{conversion.verified[where]} of {conversion.sent[where]}"
            failed = f"{there.failed} of {there.seen}"
            yield (
                name,
                share,
                there.country,
                _format_breaker(there),
                failed,
                came_back,
                _format_reasons(there),
            )
            name = share = ""


def _format_breaker(country: CountryStatus) -> str:
    return (
        f"{country.state} until {_format_time(country.until)}" if country.until else country.state
    )


def _format_reasons(country: CountryStatus) -> str:
    counts = Counter(country.reasons)  # keeps their order
    return ", ".join(f"{why} x{times}" if times > 1 else why for why, times in counts.items())


def _format_time(epoch_ms: int | None) -> str:
    return format_rfc3339(epoch_ms or 0)[11:19] + "Z"


def _to_json_members(
    statuses: Sequence[ProviderStatus], conversion: Conversion, now: int
) -> dict[str, object]:
    def convert_country(provider: ProviderStatus, country: CountryStatus) -> dict[str, object]:
        where = provider.provider, country.country
        return {
            **msgspec.structs.asdict(country),
            "until": format_rfc3339(country.until) if country.until else None,
            "sent": conversion.sent[where],
            "verified": conversion.verified[where],
        }

    providers = [
        {
            **msgspec.structs.asdict(one),
            "rests_until": format_rfc3339(one.rests_until) if one.rests_until else None,
            "countries": [convert_country(one, there) for there in one.countries],
        }
        for one in statuses
    ]
    return {
        "at": format_rfc3339(now),
        "is_whole_hour": conversion.is_complete,
        "providers": providers,
    }
