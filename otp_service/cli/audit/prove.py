"""`audit prove` and `audit verify-proof`: one event, without showing the others."""

import argparse
from pathlib import Path

import msgspec

from otp_service.audit.archive_format import segments
from otp_service.audit.archive_format.entries import place_named
from otp_service.audit.verification.inclusion_proof import Proof, prove, verify_proof
from otp_service.cli.audit.verify import add_public_key, read_keys, read_text
from otp_service.cli.command import Subparsers, WrongCall, command, json_text, printable


def add(subparsers: Subparsers) -> None:
    """Describe the commands."""
    parser = command(subparsers, "prove", run, config=False)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of the archive")
    parser.add_argument("event", type=_event, metavar="ID", help="like 07-1763814000123-42")
    parser = command(subparsers, "verify-proof", check, config=False)
    parser.add_argument("file", type=Path, metavar="FILE", help="what 'audit prove' has printed")
    add_public_key(parser)


def run(known: argparse.Namespace) -> int:
    """Prove that one event is in the archive, without showing any other.

    Prints the proof as JSON. Whoever has it and the public key checks it with
    'audit verify-proof', and needs nothing else.

    examples:
      otp-service audit prove /var/lib/otp/archive 07-1763814000123-42 > proof.json
    """
    for path in segments.segments(known.folder):
        try:
            read = (line.removesuffix(b"\n") for line in segments.whole_lines(path))
            proof = prove(read, known.event)
        except ValueError as error:
            raise WrongCall(f"cannot prove anything from {path}: {error}") from error
        if proof:
            print(json_text(proof))
            return 0
    raise WrongCall(f"{known.folder} has no event {known.event} that is sealed.")


def check(known: argparse.Namespace) -> int:
    """Check a proof that an event is in the archive.

    Shows the event, and the seal as an anchor: it is to be the one that was kept
    elsewhere, or one that 'audit verify' has gone through. Exit code 1 if it proves
    nothing.

    examples:
      otp-service audit verify-proof proof.json --public-key audit.pub
    """
    keys = read_keys(known.public_key)
    try:
        proof = msgspec.json.decode(read_text(known.file), type=Proof)
    except msgspec.MsgspecError as error:
        raise WrongCall(f"{known.file} is no proof: {error}") from error
    try:
        proved = verify_proof(proof, keys)
    except ValueError as error:
        print(f"It proves nothing: {error}.")
        return 1
    print(f"event   {proved.entry.id} of {proved.entry.at}")
    print(f"        {printable(bytes(proved.entry.event).decode())}")
    if proved.entry.integrity == "failed":
        print(
            "        its MAC was wrong when it was archived: no worker of ours may have written it"
        )
    print(f"seal    {proved.seal}")
    print(f"result  it is one of the {proof.count:,} lines under this seal of the key {proved.key}")
    return 0


def _event(text: str) -> str:
    try:
        return place_named(text).id
    except ValueError:
        raise argparse.ArgumentTypeError("an id is like 07-1763814000123-42") from None
