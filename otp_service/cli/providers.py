"""`providers`: the health of each provider, as all workers see it, and its conversion."""

import argparse
import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from otp_service.app import Application
from otp_service.app.provider_health_sync import load_provider_health
from otp_service.audit.query.reader import EventReader
from otp_service.cli.command import Subparsers, add_command, format_json
from otp_service.cli.common import read_running_settings
from otp_service.cli.numbers import create_cli_app
from otp_service.cli.tables import format_table
from otp_service.clock import now_ms
from otp_service.core.conversion import ConversionMatcher
from otp_service.core.timestamps import HOUR_MS, format_rfc3339
from otp_service.sms.provider_status import CountryStatus, ProviderStatus, list_provider_statuses


MAX_PAGES = 20
"""Pages of 2000 events, newest first. If there are more, only a part of the hour is counted."""

TABLE_HEADER = (
    *("PROVIDER", "SHARE", "COUNTRY", "BREAKER", "FAILED", "VERIFIED", "REASONS, NEWEST FIRST"),
)
NO_DATA_MESSAGE = "No provider has failed lately, and nothing was sent in the last hour."

ProviderCountry = tuple[str, str]


class Conversion(msgspec.Struct):
    """Messages of the last hour, and how many of them led to a success."""

    sent: Counter[ProviderCountry]
    verified: Counter[ProviderCountry]
    is_complete: bool
    """Whether all events of the hour were read."""

    def add_event(self, event: Mapping[str, Any], matcher: ConversionMatcher) -> None:
        challenge = event.get("challenge", "")
        if event["type"] == "otp.verified":
            matcher.add_verified(challenge, repeated=event.get("repeated", False))
        elif event["type"] == "otp.sent":
            key = event["provider"], event.get("country", "")
            self.sent[key] += 1
            self.verified[key] += matcher.add_sent(challenge)


def register_commands(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "providers", run_providers, takes_dev_folder=True)
    parser.add_argument("--json", action="store_true", help="print JSON, with times in RFC 3339")


def run_providers(args: argparse.Namespace) -> int:
    """Show the health of each provider, by country.

    SHARE is the part of its configured shares that its receipts have left it, from 10 %
    to 100 %. BREAKER is the state of its circuit breaker and until when it is open;
    while it is open, the provider is tried last. FAILED counts failures among its last
    outcomes, ten at most, since it was last healthy, and REASONS lists them. VERIFIED
    is how many codes were verified, of the messages of the last hour. Nothing is sent
    or changed.

    Exit code 1 if Redis is unavailable.

    examples:
      otp-service providers
      otp-service providers --json
    """
    now = now_ms()
    settings = read_running_settings(args.config)
    statuses, conversion = asyncio.run(_load_statuses(create_cli_app(settings), now))
    if args.json:
        print(format_json(_to_json_members(statuses, conversion, now), indent=2))
    elif not any(status.countries or status.backoff_until for status in statuses):
        print(NO_DATA_MESSAGE)
    else:
        print("\n".join(format_table([TABLE_HEADER, *_format_rows(statuses, conversion)])))
        if not conversion.is_complete:
            print("VERIFIED covers only a part of the hour: there were too many events.")
    return 0


async def _load_statuses(app: Application, now: int) -> tuple[Sequence[ProviderStatus], Conversion]:
    async with app:
        _, health = await load_provider_health(app.store)
        conversion = await count_conversions(app.create_reader(), now - HOUR_MS)
    statuses = list_provider_statuses(health, app.settings.providers, now)
    return [_add_healthy_countries(status, conversion) for status in statuses], conversion


def _add_healthy_countries(status: ProviderStatus, conversion: Conversion) -> ProviderStatus:
    """Return it with the countries without a failure, for which no health is stored."""
    known = {country.country for country in status.countries}
    sent = sorted(country for name, country in conversion.sent if name == status.provider)
    healthy = [CountryStatus(name, "closed", None, 0, 0, ()) for name in sent if name not in known]
    return msgspec.structs.replace(status, countries=(*status.countries, *healthy))


async def count_conversions(reader: EventReader, since: int) -> Conversion:
    """Return the conversion since an instant, in milliseconds; `core.conversion` has the rule."""
    conversion = Conversion(Counter(), Counter(), is_complete=False)
    matcher, cursor = ConversionMatcher(), None
    for _ in range(MAX_PAGES):
        events, cursor = await reader.read_page(since=since, limit=2000, cursor=cursor)
        for event in events:
            conversion.add_event(event, matcher)
        if cursor is None:
            conversion.is_complete = True
            break
    return conversion


def _format_rows(
    statuses: Sequence[ProviderStatus], conversion: Conversion
) -> Iterator[tuple[str, ...]]:
    for status in statuses:
        until = status.backoff_until
        backoff = f"backoff until {_format_time(until)}" if until else ""
        head = status.provider, f"{status.share:.0%}"
        if backoff or not status.countries:
            yield *head, "-", backoff or "-", "-", "-", ""
            head = "", ""
        for country in status.countries:
            key = status.provider, country.country
            verified = f"{conversion.verified[key]} of {conversion.sent[key]}"
            failed = f"{country.failures} of {country.outcomes}"
            breaker, reasons = _format_breaker(country), _format_reasons(country)
            yield *head, country.country, breaker, failed, verified, reasons
            head = "", ""


def _format_breaker(country: CountryStatus) -> str:
    until = f" until {_format_time(country.open_until)}" if country.open_until else ""
    return f"{country.state}{until}"


def _format_reasons(country: CountryStatus) -> str:
    counts = Counter(country.reasons)  # keeps their order
    return ", ".join(f"{name} x{times}" if times > 1 else name for name, times in counts.items())


def _format_time(epoch_ms: int | None) -> str:
    return format_rfc3339(epoch_ms or 0)[11:19] + "Z"


def _to_json_members(
    statuses: Sequence[ProviderStatus], conversion: Conversion, now: int
) -> dict[str, object]:
    def convert_country(provider: ProviderStatus, country: CountryStatus) -> dict[str, object]:
        key = provider.provider, country.country
        return {
            **msgspec.structs.asdict(country),
            "open_until": format_rfc3339(country.open_until) if country.open_until else None,
            "sent": conversion.sent[key],
            "verified": conversion.verified[key],
        }

    providers = [
        {
            **msgspec.structs.asdict(status),
            "backoff_until": format_rfc3339(status.backoff_until) if status.backoff_until else None,
            "countries": [convert_country(status, country) for country in status.countries],
        }
        for status in statuses
    ]
    complete = conversion.is_complete
    return {"at": format_rfc3339(now), "is_whole_hour": complete, "providers": providers}
