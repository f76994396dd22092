"""`audit key`: the key that signs seals, and its public half."""

import argparse
from pathlib import Path

from otp_service.audit.archive_format.key_files import create_key_files
from otp_service.cli.command import Subparsers, UsageError, add_command


KEY_WRITTEN_MESSAGE = """\
{path} is written; only you can read it. It goes to the machine that seals, as `signing_key` in
[audit], and nowhere else.

Append this line to the file of public keys that auditors have (the oldest stays first):

{public}"""


def register_commands(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = add_command(subparsers, "key", run_key, takes_config=False)
    parser.add_argument("file", type=Path, metavar="FILE", help="where the private key goes")


def run_key(args: argparse.Namespace) -> int:
    """Make a key that signs seals, and print its public half.

    A file that is there is left alone.

    examples:
      otp-service audit key /etc/otp/audit.pem
    """
    try:
        key = create_key_files(args.file)
    except OSError as error:
        raise UsageError(f"cannot write {args.file}: {error.strerror}.") from error
    print(KEY_WRITTEN_MESSAGE.format(path=args.file, public=key.public))
    return 0
