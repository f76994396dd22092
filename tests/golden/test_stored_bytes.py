"""The content of Redis and of archives, compared byte for byte with the files of this folder."""

from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from otp_service.cli import main
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.golden.archive_lines import (
    GOLDEN_ARCHIVE,
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
    build_fixed_key_names,
    format_labelled,
    list_key_names,
    list_macs,
)
from tests.golden.redis_keys import format_keys
from tests.golden.samples import SAMPLES
from tests.golden.scripted_run import build_installation, build_metrics, run_script
from tests.golden.stored_records import find_positional_structs, format_records
from tests.store import redis_servers


@pytest.fixture
async def empty_client(server: EmbeddedServer) -> AsyncIterator[ScriptClient]:
    """Return a client of one empty server."""
    with redis_servers.open_client(server) as client:
        client.flushall()
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as script_client:
        yield script_client


# ------------------------------------------------------------------------------------- records


def test_stored_records_have_the_same_bytes():
    """Compare each struct in Redis, and the request to the commit script.

    A struct that is encoded by position (`array_like`) is stored without field names. This test
    fails when its fields are reordered, added or removed, because the samples give each field by
    its name, and a different value to each: see `test_no_sample_hides_a_reordered_field`.
    """
    check_golden("records.txt", format_records())


@pytest.mark.parametrize("label", SAMPLES)
def test_stored_records_are_decoded_equally(label):
    """A worker of the next version decodes the records of this version."""
    sample = SAMPLES[label]

    packed = msgspec.msgpack.encode(sample)

    assert sample == msgspec.msgpack.decode(packed, type=type(sample))


def test_every_positional_struct_has_a_sample():
    """A new `array_like` struct without a sample would not be covered by the golden bytes."""
    assert find_positional_structs() <= {type(sample) for sample in SAMPLES.values()}


def test_no_sample_hides_a_reordered_field():
    """Any two fields of a positional struct have different values in one of its samples.

    So swapping the two changes the golden bytes.
    """
    rows = defaultdict(list)
    for sample in SAMPLES.values():
        fields = msgspec.structs.astuple(sample)
        rows[type(sample)].append([msgspec.msgpack.encode(value) for value in fields])
    columns = {struct: list(zip(*values, strict=True)) for struct, values in rows.items()}
    distinct = {struct for struct, fields in columns.items() if len(fields) == len(set(fields))}

    assert find_positional_structs() <= distinct


# ------------------------------------------------------------------------------ names and MACs


def test_key_names_are_unchanged():
    """Every key name, the bucket of each limit, and their partitions."""
    names = build_fixed_key_names()

    key_names = list_key_names(names)

    assert set() == names.find_uncalled()
    check_golden("key_names.txt", format_labelled(key_names))


def test_macs_and_tokens_are_unchanged():
    """Pseudonyms, code hashes, callback tokens, MACs of events, and an encrypted record.

    The nonce of an encrypted record comes from the injected randomness, so it is fixed here.
    """
    check_golden("macs.txt", format_labelled(list_macs()))


# ------------------------------------------------------------------------------------- archive


def test_archive_lines_are_unchanged(tmp_path):
    """Entry, gap, seal, anchor, proof, status, cursor: Ed25519 signatures are deterministic."""
    check_golden("archive_lines.txt", format_lines(tmp_path))


def test_a_whole_archive_is_written_as_before(tmp_path):
    """Three segments with two epochs, a gap, a wrong MAC and a change of keys."""
    if IS_REWRITE:
        rewrite_archive()
    archive = write_archive(tmp_path)

    expected, actual = read_segments(GOLDEN_ARCHIVE), read_segments(tmp_path)

    assert [*expected] == [*actual]
    for name, text in actual.items():
        assert text == expected[name], describe_difference(f"archive/{name}", expected[name], text)
    assert PUBLIC_KEYS.read_text() == "".join(f"{key}\n" for key in archive.keys)


def test_commands_read_the_golden_archive_as_before(capsys, tmp_path):
    """An archive must verify, be proved and be exported for ever."""
    proof, keys = tmp_path / "proof.json", ("--public-key", str(PUBLIC_KEYS))
    calls = [
        ("verify", str(GOLDEN_ARCHIVE), *keys),
        ("verify", str(GOLDEN_ARCHIVE), *keys, "--json"),
        ("anchor", str(GOLDEN_ARCHIVE)),
        ("prove", str(GOLDEN_ARCHIVE), find_event(GOLDEN_ARCHIVE)),
        ("verify-proof", str(proof), *keys),
        ("export", "--format", "ecs", str(GOLDEN_ARCHIVE)),
        ("export", "--format", "ocsf", str(GOLDEN_ARCHIVE)),
    ]
    outputs = []
    for call in calls:
        code = main(["audit", *call])
        text = capsys.readouterr().out
        if call[0] == "prove":
            proof.write_text(text)
        title = " ".join(Path(word).name for word in call)
        outputs.append((f"audit {title}", f"{text}exit code {code}\n"))

    check_golden("archive_commands.txt", format_sections(outputs))


# --------------------------------------------------------------------------------------- Redis


async def test_a_scripted_run_leaves_the_same_keys_in_redis(server, empty_client):
    """Key names, types, times to live and contents after issues, verifies, refusals and a seal.

    The metrics of the same run are compared too.
    """
    metrics = build_metrics()
    installation = build_installation(empty_client, metrics)

    await run_script(installation)

    with redis_servers.open_client(server) as client:
        check_golden("redis_keys.txt", format_keys(client, installation))
    check_golden("metric_samples.txt", count_samples(metrics.render_metrics()[0].decode()))
