"""The group `otp-service pumping …`: the brake on SMS pumping, for operators."""

from otp_service.cli import pumping_replay, pumping_scopes, pumping_status
from otp_service.cli.command import Subparsers


def register_commands(subparsers: Subparsers) -> None:
    group = subparsers.add_parser(
        "pumping",
        help="show the brake on SMS pumping, open and close its scopes, and try formulas",
        description="The brake limits what may stay unverified. See docs/pumping.md.",
    )
    inner = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    pumping_status.register_commands(inner)
    pumping_scopes.register_commands(inner)
    pumping_replay.register_commands(inner)
