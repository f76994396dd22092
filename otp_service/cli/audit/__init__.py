"""`otp-service audit …`: the archive of events, for auditors, the security team and operators.

A group of commands is a module here with `add(subparsers)`, and its name stands in COMMAND_MODULES; the
commands are described with `cli.describing.command`. The modules are imported on the machines of
auditors, which have neither the service nor Redis: what needs those (`otp_service.app`,
`otp_service.cli.common`) is imported in the function that runs, and nowhere at the top. A command
that verifies exits with 0 (nothing found), 1 (something found) or 2 (`UsageError`).
"""

from otp_service.cli.audit import export, key, prove, query, seal, verify
from otp_service.cli.command import Subparsers


COMMAND_MODULES = (verify, prove, key, seal, query, export)
"""The only list of them."""


def register_commands(subparsers: Subparsers) -> None:
    """Describe the group."""
    group = subparsers.add_parser(
        "audit",
        help="verify, prove, search and export the archive of events",
        description="What an archive holds and how it is kept: otp_service/audit/README.md.",
    )
    inner = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMAND_MODULES:
        module.register_commands(inner)
