"""What is stored in Redis and in archives, held byte for byte against files beside this one."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from otp_service.cli import main
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_client
from otp_service.store.embedded import EmbeddedServer
from tests.golden.archive_lines import (
    ARCHIVE,
    PUBLIC_KEYS,
    find_event,
    format_lines,
    read_segments,
    rewrite_archive,
    write_archive,
)
from tests.golden.golden_file import (
    IS_REWRITE,
    check_golden,
    describe_difference,
    format_sections,
)
from tests.golden.metrics_page import (
    count_samples,
)
from tests.golden.names_and_macs import (
    format_listed,
    list_key_names,
    list_macs,
    spell_with_fixed_key,
)
from tests.golden.redis_keys import format_keys
from tests.golden.samples import SAMPLES
from tests.golden.scripted_run import build_metrics, build_world, run_script
from tests.golden.stored_records import find_positional_structs, format_records
from tests.store import redis_servers


@pytest.fixture
async def empty_link(server: EmbeddedServer) -> AsyncIterator[ScriptClient]:
    """A link to one server with nothing in it."""
    with redis_servers.open_client(server) as client:
        client.flushall()
    async with ScriptClient(create_redis_client(url=server.url, timeout_ms=5000)) as link:
        yield link


# ------------------------------------------------------------------------------------- records


def test_stored_records_have_the_same_bytes():
    """Of each struct in Redis, and of the request to the commit script.

    A struct that is encoded by position (`array_like`) is stored without field names. This test
    fails when its fields are reordered, added or removed, because the samples give each field by
    its name, and a different value to each: see `test_no_sample_hides_a_reordered_field`.
    """
    check_golden("records.txt", format_records())


@pytest.mark.parametrize("label", SAMPLES)
def test_stored_records_are_read_back(label):
    """A worker of the next version reads what one of this version wrote."""
    sample = SAMPLES[label]

    packed = msgspec.msgpack.encode(sample)

    assert sample == msgspec.msgpack.decode(packed, type=type(sample))


def test_every_positional_struct_has_a_sample():
    """A new `array_like` struct without a sample would be outside of the golden bytes."""
    assert find_positional_structs() <= {type(sample) for sample in SAMPLES.values()}


def test_no_sample_hides_a_reordered_field():
    """Of each positional struct one sample has a different value in each field.

    So swapping any two fields changes the golden bytes.
    """
    distinct = set()
    for sample in SAMPLES.values():
        values = [msgspec.msgpack.encode(value) for value in msgspec.structs.astuple(sample)]
        if len(values) == len(set(values)):
            distinct.add(type(sample))

    assert find_positional_structs() <= distinct


# ------------------------------------------------------------------------------ names and MACs


def test_key_names_are_unchanged():
    """Every name that can be spelled, the bucket of each limit, and their partitions."""
    names = spell_with_fixed_key()

    listed = list_key_names(names)

    assert set() == names.find_uncalled()
    check_golden("key_names.txt", format_listed(listed))


def test_macs_and_tokens_are_unchanged():
    """Pseudonyms, code hashes, callback tokens, MACs of events, and a sealed record.

    The nonce of a sealed record comes from the randomness that is passed in, so it is fixed here.
    """
    check_golden("macs.txt", format_listed(list_macs()))


# ------------------------------------------------------------------------------------- archive


def test_archive_lines_are_unchanged(tmp_path):
    """Entry, gap, seal, anchor, proof, status, cursor: Ed25519 signs the same bytes alike."""
    check_golden("archive_lines.txt", format_lines(tmp_path))


def test_a_whole_archive_is_written_as_before(tmp_path):
    """Three segments with two epochs, a gap, a wrong MAC and a change of keys."""
    if IS_REWRITE:
        rewrite_archive()
    archive = write_archive(tmp_path)

    expected, actual = read_segments(ARCHIVE), read_segments(tmp_path)

    assert [*expected] == [*actual]
    for name, text in actual.items():
        assert text == expected[name], describe_difference(f"archive/{name}", expected[name], text)
    assert PUBLIC_KEYS.read_text() == "".join(f"{key}\n" for key in archive.keys)


def test_commands_read_the_golden_archive_as_before(capsys, tmp_path):
    """What was archived once has to verify, to be proved and to be exported for ever."""
    proof, keys = tmp_path / "proof.json", ("--public-key", str(PUBLIC_KEYS))
    calls = [
        ("verify", str(ARCHIVE), *keys),
        ("verify", str(ARCHIVE), *keys, "--json"),
        ("anchor", str(ARCHIVE)),
        ("prove", str(ARCHIVE), find_event(ARCHIVE)),
        ("verify-proof", str(proof), *keys),
        ("export", "--format", "ecs", str(ARCHIVE)),
        ("export", "--format", "ocsf", str(ARCHIVE)),
    ]
    printed = []
    for call in calls:
        code = main(["audit", *call])
        text = capsys.readouterr().out
        if call[0] == "prove":
            proof.write_text(text)
        title = " ".join(Path(word).name for word in call)
        printed.append((f"audit {title}", f"{text}exit code {code}\n"))

    check_golden("archive_commands.txt", format_sections(printed))


# --------------------------------------------------------------------------------------- Redis


async def test_a_scripted_run_leaves_the_same_keys_in_redis(server, empty_link):
    """Key names, types, lives and contents after issues, verifies, refusals and a seal.

    The metrics of the same run are held, too.
    """
    metrics = build_metrics()
    world = build_world(empty_link, metrics)

    await run_script(world)

    with redis_servers.open_client(server) as client:
        check_golden("redis_keys.txt", format_keys(client, world))
    check_golden("metric_samples.txt", count_samples(metrics.render_metrics()[0].decode()))
