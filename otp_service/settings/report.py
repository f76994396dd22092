"""The settings in force, for operators: every setting with its value, secrets redacted."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from otp_service.core.argon2_profile import estimate_attack_hours
from otp_service.core.fixed_codes import FixedCodes
from otp_service.core.keys import Key, KeyRing
from otp_service.core.limits import SPENDING_CAPS
from otp_service.core.pumping.prices import (
    DEFAULT_PRICES,
    PRICES_CHECKED_ON,
    Money,
    PriceSource,
    PriceTable,
    format_money,
)
from otp_service.core.tenant_share import SHARE_LIMITS
from otp_service.settings.limit_rules import format_windows
from otp_service.settings.load import find_origin
from otp_service.settings.model import Settings
from otp_service.settings.tenant_tables import ApiKeySettings
from otp_service.sms.routes import get_first_provider


REDACTED_TEXT = "**********"
URL_SECRET_PATTERN = re.compile(r"(?<=://)[^/@\s]+(?=@)|(?<=\?)\S+")
"""Secrets in a URL; `find_errors` refuses them there, but the report is shown first."""

NO_VALUE = "-"

DURATION_UNITS = (
    *(("years", 365 * 24), ("days", 24), ("hours", 1), ("min", 1 / 60), ("s", 1 / 3600)),
)
"""With the hours in each, the longest first."""

ReportLine = tuple[str, str]


class HashRate(NamedTuple):
    """The measured speed of argon2id on one core, with the profile in force."""

    engine: str
    hashes_per_second: float


def format_settings(
    settings: Settings,
    hash_rate: HashRate | None = None,
    origins: Mapping[str, str] | None = None,
) -> str:
    """Return one aligned line for each setting; without a rate there is no attack estimate.

    With `origins`, the variable of each setting that was written or empty for the file, a line says
    whether its value is a default or from the environment.
    """
    lines = [*_list_settings(settings)]
    if origins is not None:
        lines = [
            (name, f"{value}{_describe_origin(name, value, origins)}") for name, value in lines
        ]
    lines += [*_list_prices(settings), *_list_costs(settings, hash_rate)]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


def format_hours(hours: float) -> str:
    """Return a duration in the unit in which it is easiest to read: seconds to years."""
    fitting = (unit for unit in DURATION_UNITS if hours >= unit[1])
    name, size = next(fitting, DURATION_UNITS[-1])
    return f"{hours / size:.3g} {name}"


def _describe_origin(path: str, value: str, origins: Mapping[str, str]) -> str:
    origin = find_origin(path, origins)
    if origin:
        return f"  (from {origin})"
    return "  (default)" if origin is None and value != NO_VALUE else ""


def _list_settings(settings: Settings) -> Iterator[ReportLine]:
    for field in msgspec.structs.fields(settings):
        if field.name == "inbound":  # with the words of languages that are not configured
            lines = _flatten_value(settings.effective_keywords, "inbound.keywords")
            yield from (line for line in lines if line[1] != NO_VALUE)
        elif field.name == "pumping":
            yield from _flatten_value(settings.pumping.fill_floors(), "pumping")
        elif field.name != "limits":
            yield from _flatten_value(getattr(settings, field.name), field.encode_name)
    for limit, windows in settings.effective_limits.items():
        if limit in SHARE_LIMITS and limit not in settings.limits:
            share = f"{settings.default_share_percent} % of {SHARE_LIMITS[limit]}"
            yield f"limits.{limit}", share
        elif limit in SPENDING_CAPS and settings.mode == "live" and limit not in settings.limits:
            yield f"limits.{limit}", NO_VALUE
        else:
            yield f"limits.{limit}", format_windows(windows)


def _list_prices(settings: Settings) -> Iterator[ReportLine]:
    """Yield the price of a message to each country that a tenant may send to, with its source.

    It is that of the provider that a send is charged for, the first one of the country's route. For a tenant that may send to all countries,
    those that a table has are listed.
    """
    tables = [settings.tenant_settings[name] for name in settings.sending_tenants]
    countries = frozenset[str]().union(*(table.countries for table in tables))
    prices, routes = settings.build_price_table(), settings.build_routes()
    if "*" in countries:
        of_providers = (provider.prices for provider in settings.providers.values())
        countries = countries.union(DEFAULT_PRICES, settings.pumping.prices, *of_providers)
    for country in sorted(countries):
        provider = get_first_provider(routes.find_country_route(country))
        name = "of others" if country == "*" else country
        yield f"price {name}", _describe_price(prices, country, provider)


def _describe_price(prices: PriceTable, country: str, provider: str | None) -> str:
    price = prices.look_up(country, provider)
    sources = {
        PriceSource.PROVIDER: f"providers.{provider}.prices",
        PriceSource.SETTINGS: "pumping.prices",
        PriceSource.DEFAULT: f"list price, {PRICES_CHECKED_ON}",
        PriceSource.OTHER_COUNTRY: "no table has it",
    }
    return f"{format_money(price.micro_units, prices.currency)}  ({sources[price.source]})"


def _list_costs(settings: Settings, hash_rate: HashRate | None) -> Iterator[ReportLine]:
    table, processes = settings.hash, settings.service.workers
    memory = processes * table.workers * table.memory_kib // 1024
    yield "argon2 at once", f"{processes * table.workers}, in {memory} MiB"
    if hash_rate is not None:
        engine, rate = hash_rate
        digits = settings.policy.digits
        hours = estimate_attack_hours(table.profile, rate, digits=digits)
        attack = f"{format_hours(hours)} for all 10^{digits} codes of one challenge, with Redis, the pepper"
        speed = f"{rate:.0f} hashes a second on a core by {engine}"
        yield "offline attack", f"{attack} and one GPU ({speed})"


def _flatten_value(value: Any, path: str) -> Iterator[ReportLine]:
    """Yield a line for each value inside a struct, table or array of API keys."""
    match value:
        case ApiKeySettings():
            until = f", until {value.expires}" if value.expires else ""
            yield path, f"{REDACTED_TEXT} for {_format_value(value.scopes)}{until}"
        case msgspec.Struct() if not isinstance(value, Key | KeyRing | FixedCodes | Money):
            if tag := value.__struct_config__.tag:
                yield f"{path}.{value.__struct_config__.tag_field}", str(tag)
            for field in msgspec.structs.fields(value):
                yield from _flatten_value(getattr(value, field.name), f"{path}.{field.encode_name}")
        case Mapping() if value:
            for name, item in value.items():
                yield from _flatten_value(item, f"{path}.{name}")
        case (ApiKeySettings(), *_):
            for key in value:
                yield from _flatten_value(key, f"{path}.{key.id}")
        case _:
            yield path, _format_value(value)


def _format_value(value: Any) -> str:
    """Return one value for the report; a Secret redacts itself."""
    match value:
        case Key():
            return f"{value.id} {REDACTED_TEXT}"
        case bool():
            return str(value).lower()
        case tuple() | KeyRing():
            return ", ".join(_format_value(item) for item in value) or NO_VALUE
        case frozenset():
            return ", ".join(sorted(_format_value(item) for item in value)) or NO_VALUE
        case None | {}:
            return NO_VALUE
        case _:
            return URL_SECRET_PATTERN.sub(REDACTED_TEXT, str(value)) or NO_VALUE
