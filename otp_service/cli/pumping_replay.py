"""`pumping replay`: decides the sends of an archive again, by formulas to compare."""

import argparse
import sys
import tomllib
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Final

from otp_service.audit.archive_format import segments
from otp_service.audit.reports.pumping_log import (
    LogExtent,
    PumpingLog,
    find_extent,
    list_segments_since,
)
from otp_service.audit.verification.verifier import verify_folder
from otp_service.cli.audit.verify import read_public_keys, read_text_file
from otp_service.cli.command import (
    CommandError,
    Subparsers,
    UsageError,
    add_command,
    format_json,
    parse_instant,
)
from otp_service.cli.pumping_replay_report import ReplayReport, format_report, to_json_members
from otp_service.clock import now_ms
from otp_service.core.printable_text import escape_unprintable
from otp_service.core.pumping.formula_text import (
    InvalidFormula,
    build_default_formula,
    build_formula,
    flatten_tables,
    parse_pairs,
)
from otp_service.core.pumping.memory_brake import BrakeFormula
from otp_service.core.pumping.prices import DEFAULT_CURRENCY, ONE_UNIT, Money, PriceTable
from otp_service.core.pumping.replay import Replay
from otp_service.core.pumping.replay_result import ReplayPeriod
from otp_service.core.pumping.replayed_formula import ReplayedFormula
from otp_service.core.pumping.usual_traffic import HISTORY_DAYS
from otp_service.core.timestamps import DAY_MS
from otp_service.settings.country_codes import describe_unknown_countries


DEFAULT_NAME: Final = "default"
MAX_FORMULAS: Final = 10
PROGRESS_STEP_BYTES: Final = 4 * 1024 * 1024


def register_commands(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "replay", run_replay, takes_config=False)
    add = parser.add_argument
    add("folder", type=Path, metavar="ARCHIVE", help="the folder of the archive")
    text = "name=value, several with commas, or a TOML file; each is one more column"
    add("--formula", action="append", default=[], metavar="PARTS", help=text)
    add("--tenant", help="count only the sends of this tenant")
    add("--country", help="count only the sends to this region, like GB")
    text = "count from here on: an age like '7d', or an instant; before, it only learns"
    add("--from", dest="since", metavar="WHEN", help=text)
    add("--to", dest="until", metavar="WHEN", help="count until here")
    text = "price of a message, for events without one; can be repeated"
    add("--price", action="append", default=[], metavar="GB=0.05", help=text)
    text = f"currency of the service ({DEFAULT_CURRENCY})"
    add("--currency", default=DEFAULT_CURRENCY, help=text)
    text = "what one US dollar costs in it, for default prices and floors"
    add("--usd-rate", metavar="RATE", help=text)
    text = "verify the archive first, with this file of public keys"
    add("--public-key", type=Path, metavar="FILE", help=text)
    add("--json", action="store_true", help="print JSON; amounts are millionths of the currency")


def run_replay(args: argparse.Namespace) -> int:
    """Show what the brake would have refused of an archive, by one or more formulas.

    Every send of the archive is decided again, in its order, as the service decides in
    the mode 'refuse'. So an operator sees what a formula costs and saves before it is
    in force. Neither Redis nor the keys of the service are needed.

    The first column is the default formula, without a budget of the day. Each --formula
    adds one that differs from it. The first days of the archive are only used to learn
    what is usual: 14 of them, or the first half of a shorter archive. With --from it is
    the 14 days before that.

    What a person does after a refusal is unknown: a refused send never verifies, and is
    not repeated. A number that verified within a day was probably refused wrongly.

    The names of a formula: day_budget, deviations, strained_parts, strained_deviations,
    floors.range_sends, floors.block_sends, floors.strained_range_sends,
    floors.strained_block_sends, floors.address_sends, floors.country_money,
    floors.new_countries_money, floors.address_countries, learning.min_margin,
    learning.max_margin, learning.margin_deviations. Floors and strained_parts have two
    values, for an hour and for a day, and the countries of an address one. Money is in
    units of the currency.

    examples:
      otp-service pumping replay /var/lib/otp/archive
      otp-service pumping replay archive --formula deviations=3 --formula deviations=5
      otp-service pumping replay archive --formula floors.range_sends=8/16,day_budget=200
      otp-service pumping replay archive --formula careful.toml --tenant shop --from 7d
    """
    now = now_ms()
    extent = _find_extent(args)
    period = build_period(args, extent, now)
    prices = _build_prices(args)
    formulas = read_formulas(args.formula, build_default_formula(prices))
    if args.public_key is not None:
        _verify(args)
    replay = Replay(
        {
            name: ReplayedFormula(formula, prices.find_price, period.start)
            for name, formula in formulas.items()
        },
        period,
        prices,
    )
    log = PumpingLog(replay.event_types)
    learned_since = max(extent.start, period.start - HISTORY_DAYS * DAY_MS)
    paths = list_segments_since(args.folder, learned_since)
    progress, tenants = _Progress(paths), set[str]()
    try:
        for event in log.iterate_events(progress.read_lines(), learned_since, period.end):
            tenants.add(event.tenant)
            replay.add_event(event)
        replay.finish()
    finally:
        progress.clear_line()
    _check_tenant(args.tenant, tenants - {""})
    report = ReplayReport(
        currency=prices.currency,
        archive=extent,
        period=period,
        totals=replay.totals,
        formulas={name: run.result for name, run in replay.formulas.items()},
        remarks=replay.remarks,
        problems=log.problems,
    )
    if args.json:
        print(format_json(to_json_members(report), indent=2))
    else:
        print("\n".join(map(escape_unprintable, format_report(report))))
    return 0


def build_period(args: argparse.Namespace, extent: LogExtent, now: int) -> ReplayPeriod:
    """Return what is counted: without --from, what follows the days that are only learned from."""
    until = extent.end + 1 if args.until is None else parse_instant(args.until, now)
    if args.since is not None:
        since = parse_instant(args.since, now)
    else:
        since = extent.start + min(HISTORY_DAYS * DAY_MS, (extent.end - extent.start) // 2)
    if since >= until:
        raise CommandError("nothing is counted: --from is not before --to, or the archive's end.")
    return ReplayPeriod(since, until, args.tenant, args.country)


def read_formulas(texts: Iterable[str], default: BrakeFormula) -> dict[str, BrakeFormula]:
    """Return the default formula and those of the options, by name. Raises CommandError."""
    formulas = {DEFAULT_NAME: default}
    for text in texts:
        try:
            values = _read_toml(Path(text)) if text.endswith(".toml") else parse_pairs(text)
            formulas[text] = build_formula(values, default)
        except InvalidFormula as error:
            raise CommandError(f"--formula {text}: {error}.") from None
    if len(formulas) > MAX_FORMULAS:
        raise CommandError(f"at most {MAX_FORMULAS - 1} formulas can be compared in one run.")
    return formulas


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return dict(flatten_tables(tomllib.loads(read_text_file(path), parse_float=Decimal)))
    except tomllib.TOMLDecodeError as error:
        raise InvalidFormula(f"it is no TOML: {error}") from None


def _build_prices(args: argparse.Namespace) -> PriceTable:
    """Return the prices of the options. Raises CommandError, also for an unknown country of any option."""
    _check_rate(args)
    try:
        rate = ONE_UNIT if args.usd_rate is None else Money.from_number(args.usd_rate)
        pairs = (text.partition("=") for text in args.price)
        by_country = {country: Money.from_number(text).micro_units for country, _, text in pairs}
    except ValueError as error:
        raise CommandError(f"--price and --usd-rate: {error}.") from None
    countries = {*by_country, *([] if args.country is None else [args.country])}
    if unknown := describe_unknown_countries(countries):
        raise CommandError(f"--country and --price need ISO 3166 codes: {unknown}.")
    return PriceTable(currency=args.currency, usd_rate=rate, by_country=by_country)


def _check_rate(args: argparse.Namespace) -> None:
    """Raise CommandError unless the rate is there for another currency alone, as settings have it.

    Without it the floors would be as many units of that currency as they are US dollars.
    """
    is_default = args.currency == DEFAULT_CURRENCY
    if not is_default and args.usd_rate is None:
        raise CommandError(
            f"--usd-rate is missing: write what one US dollar costs in {args.currency}, like 0.92. The"
            " default prices and floors are in US dollars."
        )
    if is_default and args.usd_rate is not None:
        raise CommandError("--usd-rate is for another --currency than USD.")


def _check_tenant(name: str | None, tenants: set[str]) -> None:
    """Raise CommandError for a tenant without an event: all counts would be 0, as after a quiet time."""
    if name is not None and name not in tenants:
        raise CommandError(
            f"--tenant: no send of the archive is of this tenant. It has those of "
            f"{', '.join(sorted(tenants)) or 'none'}."
        )


def _find_extent(args: argparse.Namespace) -> LogExtent:
    """Return the extent of the archive. Raises UsageError."""
    extent = find_extent(args.folder)
    if extent is None:
        raise UsageError(f"{args.folder} is not an archive: it has no event.")
    return extent


def _verify(args: argparse.Namespace) -> None:
    """Raise CommandError unless nothing is found in the archive."""
    report = verify_folder(args.folder, read_public_keys(args.public_key), [])
    if not report.is_sound:
        raise CommandError("the archive is not sound: 'otp-service audit verify' shows why.")


class _Progress:
    """Reads lines, and shows on standard error how many of them if it is a terminal."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._total_bytes = sum(path.stat().st_size for path in paths)
        self._read_bytes = self._reported_bytes = 0
        self._is_enabled = bool(sys.stderr) and sys.stderr.isatty()

    def read_lines(self) -> Iterator[bytes]:
        for path in self._paths:
            for line in segments.iterate_raw_lines(path):
                self._read_bytes += len(line)
                if self._read_bytes >= self._reported_bytes + PROGRESS_STEP_BYTES:
                    self._show_share()
                yield line

    def clear_line(self) -> None:
        if self._is_enabled:
            print(end="\r\x1b[K", file=sys.stderr, flush=True)

    def _show_share(self) -> None:
        self._reported_bytes = self._read_bytes
        if self._is_enabled:
            share = f"{self._read_bytes / max(1, self._total_bytes):.0%}"
            print(f"replayed: {share}", end="\r", file=sys.stderr, flush=True)
