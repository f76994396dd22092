"""`otp-service opted-out`: lists, exports and imports the numbers whose person has answered STOP.

Numbers are never arguments, which the shell's history and the list of processes show.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping

import msgspec

from otp_service.app import Application
from otp_service.cli import common
from otp_service.cli.command import (
    CommandError,
    Subparsers,
    UsageError,
    add_command,
    format_json,
)
from otp_service.cli.numbers import CLI_CALLER, create_cli_app, report_unreadable_entries
from otp_service.cli.tables import format_table
from otp_service.clock import now_ms
from otp_service.core import events
from otp_service.core.do_not_send import DoNotSendEntry, DoNotSendReason, ListedEntry
from otp_service.core.do_not_send_transfer import ImportedEntry, export_entry, parse_import_line
from otp_service.core.errors import StoreUnavailable
from otp_service.core.json_lines import InvalidLine
from otp_service.core.printable_text import format_value
from otp_service.core.timestamps import to_datetime
from otp_service.service.context import NO_TENANT, Caller
from otp_service.settings import Settings


OPT_OUT_HEADER = ("NUMBER", "TENANT", "PROVIDER", "OWN NUMBER", "SINCE")
ALL_TENANTS_TEXT = "all tenants"

PROGRESS_STEP_LINES = 100


class ImportCounts(msgspec.Struct):
    """How many lines were read, and what came of them."""

    read: int = 0
    refused: int = 0
    present: int = 0
    """Those that are opt-outs which were stored before."""

    def describe(self, *, is_dry_run: bool) -> str:
        added = self.read - self.refused - self.present
        done = "can be imported, and nothing was written" if is_dry_run else "imported"
        present = "" if is_dry_run else f"{self.present} on the list before, "
        return f"Lines: {self.read} read, {self.refused} refused, {present}{added} {done}."


def register_commands(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "opted-out", run_opted_out, takes_dev_folder=True)
    actions = ("list", "export", "import")
    text = "'list' without one"
    parser.add_argument("action", nargs="?", choices=actions, default="list", help=text)
    text = "with 'import': check every line, and write nothing"
    parser.add_argument("--dry-run", action="store_true", help=text)


def run_opted_out(args: argparse.Namespace) -> int:
    """List the numbers whose person has answered STOP, or move them in and out.

    'list' shows each number masked, with the tenant that cannot send to it, the
    provider and our own number that the person answered, and the time. An answer of
    START lifts an opt-out, and so does 'otp-service unblock'. The blocks of operators
    are in 'otp-service blocked'.

    'export' writes the whole do-not-send list, blocks too, as JSON lines with the full
    numbers to standard output, and the event number.exported with their count. They
    are personal data: write to a file that only you can read, move it encrypted, and
    delete it.

    'import' reads such lines from standard input. Each has `phone_number`, and
    optionally `reason` (opted_out or blocked), `tenant` (all without one), `provider`,
    `own_number` and `at`, the time. Each number that is added is an event. Repeating
    an import is harmless: an opt-out that is stored stays as it is. A refused line is
    reported by its number, without its values; the other lines are done.

    The entries are sealed under the `limit` key. 'list' and 'export' scan all keys of
    Redis, which may take a while. Exit code 1 if an entry cannot be read, a line was
    refused, or Redis is unavailable.

    examples:
      otp-service opted-out
      umask 077
      otp-service opted-out export > list.jsonl
      otp-service opted-out import --dry-run < list.jsonl
      otp-service opted-out import < list.jsonl
    """
    if args.dry_run and args.action != "import":
        raise UsageError("--dry-run is for 'import' alone.")
    settings = common.read_running_settings(args.config)
    match args.action:
        case "import":
            return _run_import(settings, is_dry_run=args.dry_run)
        case "export":
            return _run_export(settings)
        case _:
            return _run_list(settings)


# ------------------------------------------------------------------------------- list and export


def _run_list(settings: Settings) -> int:
    listed = asyncio.run(_fetch_opt_outs(settings))
    rows = [
        _build_row(each.tenant, each.entry)
        for each in listed
        if isinstance(each.entry, DoNotSendEntry)
    ]
    for line in format_table([OPT_OUT_HEADER, *rows]) if rows else ():
        print(line)
    if not listed:
        print("No number is opted out.")
    return report_unreadable_entries(listed)


async def _fetch_opt_outs(settings: Settings) -> list[ListedEntry]:
    async with create_cli_app(settings) as app:
        return await app.service.numbers.list_opted_out_numbers(common.show_progress)


def _build_row(tenant: str, entry: DoNotSendEntry) -> tuple[str, ...]:
    names = (tenant or ALL_TENANTS_TEXT, entry.provider or "-", entry.own_number or "-")
    return (entry.masked, *map(format_value, names), f"{to_datetime(entry.at):%FT%TZ}")


def _run_export(settings: Settings) -> int:
    listed = asyncio.run(_fetch_list(settings))
    for each in listed:
        if isinstance(each.entry, DoNotSendEntry):
            print(format_json(export_entry(each.reason, each.tenant, each.entry)))
    _report("The output has whole phone numbers: keep it from other users, and delete it.")
    return report_unreadable_entries(listed)


async def _fetch_list(settings: Settings) -> list[ListedEntry]:
    """Return all blocks and opt-outs; the export is recorded before any of it is written."""
    async with create_cli_app(settings) as app:
        numbers = app.service.numbers
        listed = [
            *await numbers.list_blocked_numbers(common.show_progress),
            *await numbers.list_opted_out_numbers(common.show_progress),
        ]
        count = sum(isinstance(each.entry, DoNotSendEntry) for each in listed)
        fields = {"count": count, "by": CLI_CALLER.machine_user, "key_id": CLI_CALLER.key_id}
        await app.system_events.record_transfer(events.DoNotSendListExported, **fields)
        return listed


# ---------------------------------------------------------------------------------------- import


def _run_import(settings: Settings, *, is_dry_run: bool) -> int:
    lines = dict(common.read_stdin_lines("JSON objects, one a line; Ctrl-D ends them."))
    if not lines:
        raise CommandError("no line was given: write JSON objects to standard input, one a line.")
    counts = ImportCounts(read=len(lines))
    entries = _parse_lines(settings, lines, counts)
    if not is_dry_run:
        asyncio.run(_import_entries(settings, entries, counts))
    _report(counts.describe(is_dry_run=is_dry_run))
    return min(counts.refused, 1)


def _parse_lines(
    settings: Settings, lines: Mapping[int, str], counts: ImportCounts
) -> dict[int, ImportedEntry]:
    """Return the entries of the valid lines by their numbers; report and count the others."""
    entries, now = {}, now_ms()
    for number, text in lines.items():
        try:
            entries[number] = parse_import_line(text, settings.tenant_settings, now)
        except InvalidLine as error:
            counts.refused += 1
            _report(f"line {number}: {error}")
    return entries


async def _import_entries(
    settings: Settings, entries: Mapping[int, ImportedEntry], counts: ImportCounts
) -> None:
    async with create_cli_app(settings) as app:
        for done, (number, imported) in enumerate(entries.items(), start=1):
            try:
                counts.present += not await _import_entry(app, imported)
            except StoreUnavailable:
                _report(f"Stopped at line {number}; repeat it and the lines after it.")
                raise
            _show_progress(done, len(entries))


async def _import_entry(app: Application, imported: ImportedEntry) -> bool:
    """Store an entry; return False if it is an opt-out that was stored before."""
    numbers, entry = app.service.numbers, imported.entry
    if imported.reason is DoNotSendReason.BLOCKED:
        await numbers.block_number(CLI_CALLER, imported.phone, at=entry.at)
        return True
    return await numbers.import_opt_out(
        _select_caller(app.settings, imported.tenant), imported.phone, entry
    )


def _select_caller(settings: Settings, tenant: str) -> Caller:
    """Return the caller for a tenant, or for all."""
    chosen = settings.build_tenants()[tenant] if tenant else NO_TENANT
    return msgspec.structs.replace(CLI_CALLER, tenant=chosen)


def _report(text: str) -> None:
    print(text, file=sys.stderr)


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty() and (done % PROGRESS_STEP_LINES == 0 or done == total):
        end = "\r" if done < total else "\r\x1b[K"
        print(f"lines: {done:,} of {total:,}", end=end, file=sys.stderr, flush=True)
