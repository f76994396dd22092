"""`make sbom`: the bill of materials has what the lock has, and is the same for the same inputs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy import sbom


pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
TIME = "1795990000"


def print_document(**environment: str) -> str:
    """Return what the script prints."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy.sbom"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def text():
    """Return the document as it is printed."""
    return print_document(SOURCE_DATE_EPOCH=TIME)


@pytest.fixture(scope="module")
def document(text) -> dict[str, Any]:
    """Return the decoded document."""
    decoded: dict[str, Any] = json.loads(text)
    return decoded


def test_the_document_is_cyclonedx(text):
    """By the schema of its version, in which an unknown member is an error."""
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)

    assert fault is None


def test_each_package_of_the_lock_is_in_it_with_its_hashes(document):
    """Found here by another pattern than in the script: each line, and each hash after it."""
    expected = {}
    for line in LOCK.splitlines():
        if found := re.match(r"([a-z0-9-]+)==(\S+)", line):
            hashes = expected.setdefault((found[1], found[2]), set())
        elif found := re.search(r"--hash=sha256:(\w+)", line):
            hashes.add(found[1])

    assert len(expected) > 40
    assert expected == {
        (each["name"], each["version"]): {digest["content"] for digest in each["hashes"]}
        for each in document["components"]
    }


def test_each_component_has_a_licence_and_most_an_spdx_expression(document):
    """A package whose licence is unknown must be looked at before it is used."""
    licences = [each["licenses"][0] for each in document["components"]]
    by_name = [each["license"]["name"] for each in licences if "name" in each.get("license", {})]

    assert len(by_name) < 5
    assert not any(re.search(r"GPL|Proprietary|UNKNOWN", str(each)) for each in licences)


def test_the_service_is_what_the_document_is_about(document):
    """With its version, and what it requires itself."""
    service = document["metadata"]["component"]
    (edges,) = [each for each in document["dependencies"] if each["ref"] == service["bom-ref"]]

    assert ("otp-service", "application") == (service["name"], service["type"])
    assert "Apache-2.0" == service["licenses"][0]["license"]["id"]
    names = {ref.removeprefix("pkg:pypi/").split("@")[0] for ref in edges["dependsOn"]}
    assert {"litestar", "redis", "argon2-cffi", "pynacl"} <= names
    assert "flit-core" not in names


def test_every_component_but_the_build_backend_is_required_by_another(document):
    """A graph without edges would not say why a package is there."""
    required = {ref for each in document["dependencies"] for ref in each.get("dependsOn", [])}
    lonely = {each["name"] for each in document["components"] if each["bom-ref"] not in required}

    assert {"flit-core"} == lonely


def test_what_the_image_leaves_out_is_excluded(document):
    """The Dockerfile uninstalls it, so a scanner need not report it."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    removed = {
        name
        for names in re.findall(r"pip uninstall --yes ([\w -]+)", dockerfile)
        for name in names.split()
    }

    assert removed - {"pip"} == {
        each["name"] for each in document["components"] if each["scope"] == "excluded"
    }


def test_the_same_inputs_give_the_same_bytes(text):
    """Also with another order of sets; another time changes nothing but the time."""
    again = print_document(SOURCE_DATE_EPOCH=TIME, PYTHONHASHSEED="7")
    later = print_document(SOURCE_DATE_EPOCH="1795990001", PYTHONHASHSEED="8")

    assert text == again
    differences = {
        (ours, theirs)
        for ours, theirs in zip(text.splitlines(), later.splitlines(), strict=True)
        if ours != theirs
    }
    assert 1 == len(differences)
    assert all('"timestamp"' in line for pair in differences for line in pair)


def test_another_lock_is_another_document():
    """The serial number is derived from the lock."""
    time = sbom.datetime.fromtimestamp(0, sbom.UTC)
    numbers = {sbom.build_document(lock, time).serial_number for lock in (LOCK, LOCK + "\n")}

    assert 2 == len(numbers)


def test_no_host_of_an_index_is_in_it(text):
    """A package is named by its purl, and found wherever an installation takes its packages from."""
    hosts = set(re.findall(r"https?://([^/\"]+)", text))

    assert hosts <= {"cyclonedx.org"}


def test_a_licence_that_spdx_does_not_know_is_a_name():
    """And the first one that it knows is taken, also after one that it does not."""
    known = sbom.choose_licence(["BSD License", "Apache-2.0 OR BSD-3-Clause"])
    unknown = sbom.choose_licence(["BSD License"])

    assert "Apache-2.0 OR BSD-3-Clause" == known.value
    assert "BSD License" == unknown.name


def test_a_package_without_any_licence_is_an_error():
    """Instead of a document with a gap."""
    with pytest.raises(StopIteration):
        sbom.choose_licence([])


def test_make_sbom_writes_the_document_with_the_time_of_the_commit():
    """The time is that of the source, so the same commit gives the same file."""
    command = ["make", "--no-print-directory", "--dry-run", "sbom", "SOURCE_DATE_EPOCH=" + TIME]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)

    assert f"SOURCE_DATE_EPOCH='{TIME}'" in done.stdout
    assert "-m deploy.sbom >dist/otp-service.cdx.json" in done.stdout
