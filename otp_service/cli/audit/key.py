"""`audit key`: the key that signs seals, and its public half."""

import argparse
from pathlib import Path

from otp_service.audit.archive_format.key_files import write_key
from otp_service.cli.command import Subparsers, WrongCall, command


WRITTEN = """\
{path} is written; only you can read it. It goes to the machine that seals, as `signing_key` in
[audit], and nowhere else.

Append this line to the file of public keys that auditors have (the oldest stays first):

{public}"""


def add(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = command(subparsers, "key", run, config=False)
    parser.add_argument("file", type=Path, metavar="FILE", help="where the private key goes")


def run(known: argparse.Namespace) -> int:
    """Make a key that signs seals, and print its public half.

    A file that is there is left alone.

    examples:
      otp-service audit key /etc/otp/audit.pem
    """
    try:
        key = write_key(known.file)
    except OSError as error:
        raise WrongCall(f"cannot write {known.file}: {error.strerror}.") from error
    print(WRITTEN.format(path=known.file, public=key.public))
    return 0
