"""`audit seal`: the sealer alone, as another user or on another machine than `serve`."""

import argparse
from pathlib import Path

from otp_service.cli.command import Subparsers, add_command


def register_commands(subparsers: Subparsers) -> None:
    """Describe the command."""
    add_command(subparsers, "seal", run_seal)


def run_seal(args: argparse.Namespace) -> int:
    """Copy the events to the archive and seal it, until a signal comes.

    For audit.seal = "alone"; `serve` needs no signing key then. It wants a whole
    configuration, in which redis, events.maximum and the keys `state` and `limit` are
    those of the service. Of several, one seals and the others wait to take over. SIGHUP
    reads the settings again; SIGTERM seals what is there.

    examples:
      otp-service audit seal --config sealer.toml
    """
    from otp_service.cli.sealer_runner import run_sealer_process  # noqa: PLC0415  # auditors have no service

    return run_sealer_process(Path(args.config))
