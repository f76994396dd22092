"""The checklists of audit/EVENTS.md, taken: the event type that they show is added to a copy."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import otp_service


PACKAGE = Path(otp_service.__file__).parent
FENCED = re.compile(r"^ +```python\n(.*?)^ +```", re.DOTALL | re.MULTILINE)

REPORT_EVENT = """
import json, msgspec, otp_service
from otp_service.audit.archive_format.entries import encode_entry
from otp_service.audit.event_decoder import decode_event
from otp_service.audit.exports import EXPORT_FORMATS, export_line
from otp_service.audit.reports.event_record import build_event_record
from otp_service.core.events import EVENT_TYPES
from otp_service.core.log_entry import Entry, StreamPosition

event = EVENT_TYPES["otp.number_ported"](id="1", number="p1:9f", network="23415")
entry = Entry(partition=7, position=StreamPosition(1000, 1), epoch=5,
              event=msgspec.json.encode(event), mac="k1:9f", stamp=b"")
decoded = decode_event(entry, has_valid_mac=True)
line = encode_entry(entry, has_valid_mac=True)
exports = {name: json.loads(export_line(line, form)) for name, form in EXPORT_FORMATS.items()}
print(json.dumps({"file": otp_service.__file__, "public": decoded.to_public(),
                  "record": build_event_record(decoded).type, **exports}))
"""


@pytest.fixture
def snippets() -> tuple[str, str]:
    """The struct of step 1 and the entry of step 2."""
    _, _, section = (PACKAGE / "audit/EVENTS.md").read_text().partition("\n## Checklists\n")
    struct, entry = map(textwrap.dedent, FENCED.findall(section))
    return struct, textwrap.indent(entry, "    ")


@pytest.fixture
def copy(tmp_path, snippets) -> Path:
    """A folder with the package, and the steps taken in it."""
    shutil.copytree(PACKAGE, tmp_path / "otp_service")  # with what is compiled
    struct, entry = snippets
    files = [
        ("core/events/send_events.py", "class MessageTaken(", f"{struct}\n\nclass MessageTaken("),
        ("audit/exports/taxonomy.py", '    ("otp.issued", "")', f'{entry}    ("otp.issued", "")'),
        ("audit/exports/export_record.py", "{\n        *(", '{\n        "network",\n        *('),
    ]
    for name, place, text in files:
        path = tmp_path / "otp_service" / name
        source = path.read_text()
        assert 1 == source.count(place), name
        path.write_text(source.replace(place, text))
    return tmp_path


def run(copy: Path, *arguments: str) -> str:
    """Run Python on the copy, and return what it prints."""
    path = os.pathsep.join((str(copy), str(PACKAGE.parent)))
    done = subprocess.run(
        [sys.executable, "-P", *arguments],
        env=os.environ | {"PYTHONPATH": path},
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


def test_an_event_type_is_read_reported_and_exported_after_the_steps(copy):
    """In all views, with its own member, and no other file was changed."""
    shown: dict[str, Any] = json.loads(run(copy, "-c", REPORT_EVENT))

    assert str(copy / "otp_service/__init__.py") == shown["file"]
    assert ("ok", "23415") == (shown["public"]["integrity"], shown["public"]["network"])
    assert "otp.number_ported" == shown["record"]
    assert (600303, "23415") == (shown["ocsf"]["type_uid"], shown["ocsf"]["unmapped"]["network"])
    assert ("otp.number_ported", "23415") == (
        shown["ecs"]["event"]["action"],
        shown["ecs"]["labels"]["network"],
    )


def test_the_table_prints_the_row_of_the_new_type(copy):
    """Which the last step adds to EVENTS.md."""
    rows = run(copy, "-m", "tests.audit.event_table").splitlines()

    (row,) = [row for row in rows if "otp.number_ported" in row]
    assert row == (
        "| `otp.number_ported` | A provider reported that a number has moved to another network"
        " | `network` | 6003 3 Update | api: change | - | 2 |"
    )


def test_the_struct_of_the_checklist_is_formatted_as_ours_are(snippets):
    """Nothing that ruff would change."""
    ruff = Path(sys.executable).with_name("ruff")

    done = subprocess.run(
        [ruff, "format", "--diff", "--stdin-filename", PACKAGE / "core/new.py", "-"],
        input=snippets[0],
        capture_output=True,
        text=True,
        check=False,
        cwd=PACKAGE.parent,
    )

    assert 0 == done.returncode, done.stdout + done.stderr


def test_every_file_that_the_checklists_name_exists():
    """Paths are relative to `otp_service`, or to the repository for tests."""
    _, _, section = (PACKAGE / "audit/EVENTS.md").read_text().partition("\n## Checklists\n")
    names = set(re.findall(r"`((?:\w+/)+\w+\.(?:py|lua))`", section))

    for name in names:
        roots = (PACKAGE, PACKAGE / "audit", PACKAGE.parent)
        assert any((root / name).exists() for root in roots), name
    assert len(names) > 8
