"""`audit prove` and `audit verify-proof`: one event, without showing the others."""

import argparse
from pathlib import Path

import msgspec

from otp_service.audit.archive_format import segments
from otp_service.audit.archive_format.entries import parse_sequence_id
from otp_service.audit.verification.inclusion_proof import InclusionProof, build_proof, verify_proof
from otp_service.cli.audit.verify import (
    add_anchor_option,
    add_public_key_option,
    read_anchors,
    read_public_keys,
    read_text_file,
)
from otp_service.cli.command import Subparsers, UsageError, add_command, format_json
from otp_service.core.printable_text import escape_unprintable


def register_commands(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "prove", run_prove, takes_config=False)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of the archive")
    text = "id of the event, like 07-1763814000123-42"
    parser.add_argument("event", type=_parse_event_id, metavar="ID", help=text)
    parser = add_command(subparsers, "verify-proof", run_verify_proof, takes_config=False)
    parser.add_argument("file", type=Path, metavar="FILE", help="the output of 'audit prove'")
    add_public_key_option(parser)
    add_anchor_option(parser)


def run_prove(args: argparse.Namespace) -> int:
    """Prove that one event is in the archive, without showing any other.

    Prints the proof as JSON. 'audit verify-proof' checks it with the public key, and
    needs nothing else. Exit code 2 if the event is not sealed in this archive.

    examples:
      otp-service audit prove /var/lib/otp/archive 07-1763814000123-42 > proof.json
    """
    for path in segments.list_segments(args.folder):
        try:
            read = (line.removesuffix(b"\n") for line in segments.iterate_raw_lines(path))
            proof = build_proof(read, args.event)
        except ValueError as error:
            raise UsageError(f"cannot prove anything from {path}: {error}") from error
        if proof:
            print(format_json(proof))
            return 0
    raise UsageError(f"{args.folder} has no event {args.event} that is sealed.")


def run_verify_proof(args: argparse.Namespace) -> int:
    """Check a proof that an event is in the archive.

    Prints the event, and the seal as an anchor. With --anchor the seal must be one of the
    anchors, which are kept elsewhere; otherwise compare it with a seal that 'audit verify'
    has verified. A seal by a key that was replaced needs an anchor. Exit code 1 if the
    proof is invalid.

    examples:
      otp-service audit verify-proof proof.json --public-key audit.pub
      otp-service audit verify-proof proof.json --public-key audit.pub --anchor anchors.txt
    """
    keys = read_public_keys(args.public_key)
    try:
        proof = msgspec.json.decode(read_text_file(args.file), type=InclusionProof)
    except msgspec.MsgspecError as error:
        raise UsageError(f"{args.file} is not a proof: {error}") from error
    try:
        proved = verify_proof(proof, keys, read_anchors(args.anchor))
    except ValueError as error:
        print(f"It proves nothing: {error}.")
        return 1
    print(f"event   {proved.entry.id} of {proved.entry.at}")
    print(f"        {escape_unprintable(bytes(proved.entry.event).decode())}")
    if proved.entry.integrity == "failed":
        print("        its MAC was wrong when it was archived: perhaps no worker has written it")
    print(f"seal    {proved.anchor}")
    count, key_id = proof.count, proved.key_id
    print(f"result  it is one of the {count:,} lines under this seal of the key {key_id}")
    return 0


def _parse_event_id(text: str) -> str:
    try:
        return parse_sequence_id(text).id
    except ValueError:
        raise argparse.ArgumentTypeError("an id is like 07-1763814000123-42") from None
