"""`audit export` of one number or account: their pseudonyms need the keys, and the search is recorded."""

import argparse
import asyncio
import sys

from msgspec.structs import replace

from otp_service.audit.exports import ExportSelection
from otp_service.audit.query.reader import EventQuery
from otp_service.cli.audit.export import export_archive
from otp_service.cli.audit.person_search import read_person, record_lookup
from otp_service.cli.common import read_running_settings
from otp_service.cli.numbers import create_cli_app
from otp_service.core.keys import KeyRing


def export_person(args: argparse.Namespace, selection: ExportSelection) -> None:
    """Write the selected events of the person whom standard input names. Raises CommandError."""
    # Reads standard input before the event loop runs, in which Ctrl-C would not interrupt the read.
    asyncio.run(_export_person(args, selection, read_person(args)))


async def _export_person(
    args: argparse.Namespace, selection: ExportSelection, person: EventQuery
) -> None:
    settings = read_running_settings(args.config)
    selected = _select_person(selection, person, settings.keys.pseudonym)
    texts = list(export_archive(args.folder, args.format, selected))
    async with create_cli_app(settings) as app:
        await record_lookup(app, args, person, len(texts))
    for text in texts:
        sys.stdout.write(f"{text}\n")


def _select_person(
    selection: ExportSelection, person: EventQuery, ring: KeyRing
) -> ExportSelection:
    number, account = person.get("number"), person.get("account")
    pseudonyms = {
        "number_pseudonyms": ring.derive_pseudonyms("number", number.canonical) if number else None,
        "account_pseudonyms": ring.derive_pseudonyms("account", account) if account else None,
    }
    return replace(selection, event_filter=replace(selection.event_filter, **pseudonyms))
