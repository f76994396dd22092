"""`audit seal`: a separate sealer, for another user or another machine than that of `serve`."""

import argparse
from pathlib import Path

from otp_service.cli.command import Subparsers, add_command


def register_commands(subparsers: Subparsers) -> None:
    add_command(subparsers, "seal", run_seal)


def run_seal(args: argparse.Namespace) -> int:
    """Copy the events to the archive and seal it, until a signal comes.

    For audit.seal = "alone": `serve` then needs no signing key. The configuration must
    be complete, with redis, events.maximum and the keys `state` and `limit` of the
    service. If several run, one seals and the others wait to take over. SIGHUP reads
    the settings again; SIGTERM seals the events that are left, and stops.

    Exit code 1 if the settings or the archive cannot be used.

    examples:
      otp-service audit seal --config sealer.toml
    """
    from otp_service.cli.sealer_runner import run_sealer_process  # noqa: PLC0415  # needs the service, which auditors do not have

    return run_sealer_process(Path(args.config))
