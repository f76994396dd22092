"""`otp-service audit …`: the archive of events, for auditors, the security team and operators.

Each module in COMMAND_MODULES has `register_commands(subparsers)`, which calls `cli.command.add_command`.
The modules are imported on auditors' machines, which have neither the service nor Redis: a function
imports what needs those (`otp_service.app`, `otp_service.cli.common`) when it runs, never the module. A
command that verifies exits with 0 (nothing found), 1 (something found) or 2 (`UsageError`).
"""

from otp_service.cli.audit import export, key, prove, query, seal, verify
from otp_service.cli.command import Subparsers


COMMAND_MODULES = (verify, prove, key, seal, query, export)


def register_commands(subparsers: Subparsers) -> None:
    group = subparsers.add_parser(
        "audit",
        help="verify, prove, search and export the archive of events",
        description="What an archive holds and how it is kept: otp_service/audit/README.md.",
    )
    inner = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMAND_MODULES:
        module.register_commands(inner)
