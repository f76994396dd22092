"""The group `otp-service pumping …`: the brake on SMS pumping, for operators."""

from otp_service.cli import pumping_scopes
from otp_service.cli.command import Subparsers


def register_commands(subparsers: Subparsers) -> None:
    group = subparsers.add_parser(
        "pumping",
        help="open and close scopes of the brake on SMS pumping",
        description="The brake limits what may stay unverified. See docs/pumping.md.",
    )
    inner = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    pumping_scopes.register_commands(inner)
