"""`otp-service audit COMMAND`: what is done with the archive, each command in its own module."""

from typing import Final

from otp_service.cli.audit import exporting
from otp_service.cli.console import Subparsers


COMMANDS: Final = (exporting,)
"""Modules with `add(subparsers)`; the only list of them."""


def add(subparsers: Subparsers) -> None:
    """Describe the commands."""
    parser = subparsers.add_parser("audit", help="what is done with the archive of events")
    inner = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(inner)
