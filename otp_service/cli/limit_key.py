"""`otp-service limit-key …`: what is stored under each limit key, and moving it to the one in force."""

import argparse
import asyncio
import sys

from otp_service.app import (
    RANDOM_SOURCE,
    Application,
    collect_versions,
    create_client,
    create_store,
)
from otp_service.cli import common
from otp_service.cli.command import Subparsers, add_command, format_list
from otp_service.cli.limit_key_report import format_contents, list_errors, list_notes
from otp_service.cli.numbers import create_cli_app
from otp_service.core.errors import StoreUnavailable
from otp_service.settings import Settings
from otp_service.store.limit_key_contents import MOVED_KINDS, LimitKeyContents, LimitKeyScan
from otp_service.store.limit_key_move import LimitKeyMover


def register_commands(subparsers: Subparsers) -> None:
    group = subparsers.add_parser(
        "limit-key",
        help="show and move what is stored under an earlier limit key",
        description="The limit key names what Redis keeps about numbers and accounts. See"
        " docs/key-rotation.md, The limit key.",
    )
    inner = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_command(inner, "status", run_status, takes_dev_folder=True)
    add_command(inner, "move", run_move, takes_dev_folder=True)


def run_status(args: argparse.Namespace) -> int:
    """Count what is stored under each limit key.

    That is what a rotation must not lose: opt-outs, blocks and consecutive failures,
    which 'limit-key move' moves; and what ends by itself: recipients (a STOP from
    them counts, for 30 days after a message), known numbers (the brake on SMS pumping
    exempts them, for 90 days) and valid codes (10 minutes). A key that is missing in the settings is named by its id.

    The command scans all keys of Redis, which may take a while. Exit code 0 if only
    the key in force is needed, so that another one may be removed; 1 if something is
    under another key.

    examples:
      otp-service limit-key status
    """
    contents = asyncio.run(scan_contents(common.read_running_settings(args.config)))
    print("\n".join(format_contents(contents)))
    if findings := [*list_errors(contents), *list_notes(contents)]:
        print(f"\n{format_list(findings)}")
    return 0 if contents.is_settled else 1


def run_move(args: argparse.Namespace) -> int:
    """Move what is under an earlier limit key to the one in force.

    Opt-outs, blocks and consecutive failures are opened, written under their new name
    and deleted under the old one. Calls may run meanwhile: a number that is locked or
    on the do-not-send list stays so. If one is under both names, the failures are
    added up, and the earlier of two opt-outs is kept.

    Run it after step 2 of the rotation, when every process has the new key in front
    ('otp-service status'): one that does not know the key would not find what was
    moved. It may be interrupted and repeated. The event limit_key.moved records the
    start and the end. Exit code 1 if something is left that a later run can move, or
    that cannot be read.

    examples:
      otp-service limit-key move
    """
    moved, contents = asyncio.run(_move_contents(common.read_running_settings(args.config)))
    key_id = contents.key_ids[0]
    print(f"Moved to {key_id!r}: {moved}.")
    if findings := [*list_errors(contents), *list_notes(contents)]:
        print(format_list(findings))
    left = sum(count for (_, kind), count in contents.elsewhere.items() if kind in MOVED_KINDS)
    return min(1, left + contents.unreadable.total())


async def scan_contents(settings: Settings) -> LimitKeyContents:
    """Return what is stored under each limit key. Raises StoreUnavailable."""
    async with create_client(settings) as client:
        store = create_store(settings, client, collect_versions(settings))
        return await LimitKeyScan(store, common.show_progress).count_all()


async def _move_contents(settings: Settings) -> tuple[int, LimitKeyContents]:
    """Move everything, with its events. Return how much was moved, and what a scan finds then."""
    async with create_cli_app(settings) as app:
        mover = LimitKeyMover(app.store, RANDOM_SOURCE.generate_operation_id)
        await mover.complete_moves(common.show_progress)
        found = await LimitKeyScan(app.store, common.show_progress).count_all()
        if not found.misplaced:
            return 0, found
        await _record(app, "started", len(found.misplaced))
        moved = await _move_or_report(mover, found)
        contents = await LimitKeyScan(app.store, common.show_progress).count_all()
        await _record(app, "finished", moved)
        return moved, contents


async def _move_or_report(mover: LimitKeyMover, found: LimitKeyContents) -> int:
    try:
        return await mover.move(found, _show_moved)
    except StoreUnavailable:
        print("Stopped: run 'otp-service limit-key move' again for the rest.", file=sys.stderr)
        raise


async def _record(app: Application, reason: str, count: int) -> None:
    fields = {"count": count, "by": common.find_machine_user(), "key_id": "cli"}
    await app.system_events.record_limit_key_move(reason, **fields)


def _show_moved(done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\r" if done < total else "\r\x1b[K"
        print(f"moved: {done:,} of {total:,}", end=end, file=sys.stderr, flush=True)
