"""`audit seal`: the sealer alone, as another user or on another machine than `serve`."""

import argparse
from pathlib import Path

from otp_service.cli.command import Subparsers, command


def add(subparsers: Subparsers) -> None:
    """Describe the command."""
    command(subparsers, "seal", run)


def run(known: argparse.Namespace) -> int:
    """Copy the events to the archive and seal it, until a signal comes.

    For audit.seal = "alone"; `serve` needs no signing key then. It wants a whole
    configuration, in which redis, events.maximum and the keys `state` and `limit` are
    those of the service. Of several, one seals and the others wait to take over. SIGHUP
    reads the settings again; SIGTERM seals what is there.

    examples:
      otp-service audit seal --config sealer.toml
    """
    from otp_service.cli.sealer_runner import seal_alone  # noqa: PLC0415  # auditors have no service

    return seal_alone(Path(known.config))
