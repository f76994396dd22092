"""`audit key`: the key that signs seals, and its public half."""

import argparse
from pathlib import Path

from otp_service.audit.archive_format.key_files import create_key_files
from otp_service.cli.command import Subparsers, UsageError, add_command


KEY_WRITTEN_MESSAGE = """\
{path} is written; only you can read it. It goes to the machine that seals, as `signing_key` in
[audit], and nowhere else.

Append this line to the auditors' file of public keys (the oldest key stays first):

{public}"""


def register_commands(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "key", run_key, takes_config=False)
    parser.add_argument("file", type=Path, metavar="FILE", help="path of the private key")


def run_key(args: argparse.Namespace) -> int:
    """Make a key that signs seals, and print its public half.

    The public half is also written to FILE.pub. A file that exists is never overwritten:
    exit code 2.

    examples:
      otp-service audit key /etc/otp/audit.pem
    """
    try:
        key = create_key_files(args.file)
    except OSError as error:
        raise UsageError(f"cannot write {args.file}: {error.strerror}.") from error
    print(KEY_WRITTEN_MESSAGE.format(path=args.file, public=key.public))
    return 0
