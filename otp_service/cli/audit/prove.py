"""`audit prove` and `audit verify-proof`: one event, or those of one challenge, without the others."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from otp_service.audit.archive_format import segments
from otp_service.audit.archive_format.entries import parse_sequence_id
from otp_service.audit.verification.evidence import (
    EvidenceBundle,
    build_evidence,
    verify_evidence,
)
from otp_service.audit.verification.inclusion_proof import (
    InclusionProof,
    ProvenEntry,
    build_proof,
    verify_proof,
)
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
    # Versions of Python write a group with an optional position differently.
    parser.usage = "%(prog)s [-h] DIR (ID | --challenge CHALLENGE)"
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("event", nargs="?", type=_parse_event_id, metavar="ID", help=text)
    text = "id of a challenge: prove all of its events"
    chosen.add_argument("--challenge", metavar="CHALLENGE", help=text)
    parser = add_command(subparsers, "verify-proof", run_verify_proof, takes_config=False)
    parser.add_argument("file", type=Path, metavar="FILE", help="the output of 'audit prove'")
    add_public_key_option(parser)
    add_anchor_option(parser)


def run_prove(args: argparse.Namespace) -> int:
    """Prove that one event, or all of a challenge, are in the archive, without showing others.

    Prints the proof as JSON. 'audit verify-proof' checks it with the public key, and
    needs nothing else. With --challenge it is one bundle: the events of the challenge,
    a proof of each, and the seals. Events that are not sealed yet are left out, with a
    remark. Exit code 2 if nothing of it is sealed in this archive.

    examples:
      otp-service audit prove /var/lib/otp/archive 07-1763814000123-42 > proof.json
      otp-service audit prove archive --challenge c07-5d41402abc4b2a76b9719d911017c592 > proof.json
    """
    print(format_json(_prove_challenge(args) if args.challenge else _prove_event(args)))
    return 0


def _prove_event(args: argparse.Namespace) -> InclusionProof:
    for path in segments.list_segments(args.folder):
        try:
            read = (line.removesuffix(b"\n") for line in segments.iterate_raw_lines(path))
            proof = build_proof(read, args.event)
        except ValueError as error:
            raise UsageError(f"cannot prove anything from {path}: {error}") from error
        if proof:
            return proof
    raise UsageError(f"{args.folder} has no event {args.event} that is sealed.")


def _prove_challenge(args: argparse.Namespace) -> EvidenceBundle:
    try:
        bundle = build_evidence(args.folder, args.challenge)
    except ValueError as error:
        raise UsageError(f"cannot prove anything from {args.folder}: {error}.") from error
    if bundle.unsealed:
        remark = f"{bundle.unsealed} events are left out: no seal covers them yet. Repeat it in a minute."
        print(remark, file=sys.stderr)
    if not bundle.entries:
        raise UsageError(f"{args.folder} has no event of {args.challenge} that is sealed.")
    return bundle


def run_verify_proof(args: argparse.Namespace) -> int:
    """Check a proof that an event, or each event of a challenge, is in the archive.

    Prints each event, and its seal as an anchor. With --anchor every seal must be one of
    the anchors, which are kept elsewhere; otherwise compare them with seals that 'audit
    verify' has verified. A seal by a key that was replaced needs an anchor. That no event
    of a challenge was left out is not proven: that takes the archive. Exit code 1 if the
    proof is invalid.

    examples:
      otp-service audit verify-proof proof.json --public-key audit.pub
      otp-service audit verify-proof proof.json --public-key audit.pub --anchor anchors.txt
    """
    keys, anchors = read_public_keys(args.public_key), read_anchors(args.anchor)
    proof = _read_proof(args.file)
    try:
        if isinstance(proof, InclusionProof):
            proven = [verify_proof(proof, keys, anchors)]
        else:
            proven = verify_evidence(proof, keys, anchors)
    except ValueError as error:
        print(f"It proves nothing: {escape_unprintable(str(error))}.")
        return 1
    for one in proven:
        _print_event(one)
    print(f"result  {_describe_result(proof, proven)}")
    return 0


def _read_proof(path: Path) -> InclusionProof | EvidenceBundle:
    """Return the proof in a file; a bundle has `entries`. Raises UsageError."""
    text = read_text_file(path)
    try:
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        if "entries" in members:
            return msgspec.json.decode(text, type=EvidenceBundle)
        return msgspec.json.decode(text, type=InclusionProof)
    except (msgspec.MsgspecError, RecursionError) as error:
        cause = escape_unprintable(str(error))  # which repeats names of the file
        raise UsageError(f"{path} is not a proof: {cause}") from error


def _print_event(proven: ProvenEntry) -> None:
    print(f"event   {proven.entry.id} of {proven.entry.at}")
    print(f"        {escape_unprintable(bytes(proven.entry.event).decode())}")
    if proven.entry.integrity == "failed":
        print("        its MAC was wrong when it was archived: perhaps no worker has written it")
    print(f"seal    {proven.anchor}")


def _describe_result(proof: InclusionProof | EvidenceBundle, proven: Sequence[ProvenEntry]) -> str:
    if isinstance(proof, InclusionProof):
        key_id = proven[0].key_id
        return f"it is one of the {proof.count:,} lines under this seal of the key {key_id}"
    keys = ", ".join(sorted({one.key_id for one in proven}))
    events = f"{len(proven)} event{'s' * (len(proven) != 1)} of {proof.challenge}"
    seals = f"{len(proof.seals)} seal{'s' * (len(proof.seals) != 1)} of the key {keys}"
    return f"{events} under {seals}"


def _parse_event_id(text: str) -> str:
    try:
        return parse_sequence_id(text).id
    except ValueError:
        raise argparse.ArgumentTypeError("an id is like 07-1763814000123-42") from None
