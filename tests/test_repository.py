"""What editors, hooks, forges and package indexes read: it names only what exists."""

import re
import subprocess
import sys
import tomllib
from email.parser import Parser
from pathlib import Path

import pytest
import yaml


ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
GATE = (ROOT / ".ci" / "run").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
TEMPLATES = [*FORMS, ROOT / ".github" / "pull_request_template.md"]

GOLDEN_OR_LOCK = re.compile(r"tests/golden/|.*\.lock$")
"""What .editorconfig exempts: recorded bytes."""


def load_yaml(path: Path) -> dict:
    """Return the document. YAML 1.1 reads the key `on` of a workflow as true."""
    return yaml.safe_load(path.read_text())


def list_targets() -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


def run_make(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run make in the repository."""
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )


# ------------------------------------------------------------------------------- hooks, forges


def test_the_hook_before_a_commit_runs_make_check_with_local_tools_only():
    """A hook from another repository would be fetched without a hash."""
    (repository,) = load_yaml(ROOT / ".pre-commit-config.yaml")["repos"]
    (hook,) = repository["hooks"]

    assert "local" == repository["repo"]
    assert ("system", True, False) == (
        hook["language"],
        hook["always_run"],
        hook["pass_filenames"],
    )
    assert ["make", "--no-print-directory", "check"] == hook["entry"].split()


def test_the_workflow_of_the_forge_ends_in_the_gate():
    """It has the gate's bound of time, and no right to write."""
    workflow = load_yaml(WORKFLOW)
    (job,) = workflow["jobs"].values()

    assert {"contents": "read"} == workflow["permissions"]
    assert "bash .ci/run" == job["steps"][-1]["run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_each_action_is_pinned_by_its_commit():
    """A tag can be moved to another commit; the comment says which release it is."""
    lines = re.findall(r"uses: (.+)", WORKFLOW.read_text())

    assert lines
    for line in lines:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", line), line


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_each_form_of_an_issue_has_what_a_forge_requires(form):
    """Without one of these a forge shows a blank issue instead."""
    document = load_yaml(form)
    if form.stem == "config":
        assert {"blank_issues_enabled": False} == document
        return
    fields = [item for item in document["body"] if item["type"] != "markdown"]

    assert document["name"]
    assert document["description"]
    assert len(fields) == len({field["id"] for field in fields})
    assert all(field["attributes"]["label"] for field in fields)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_templates_name_only_files_and_commands_that_exist(template):
    """A form that sends its reader to a missing page is worse than none."""
    text = template.read_text()
    commands = re.findall(r"`make (\w+)`", text)

    for name in re.findall(r"\b[\w/]+\.md\b", text):
        assert (ROOT / name).is_file(), name
    assert set(commands) <= list_targets()


def test_every_file_is_as_the_editor_configuration_says():
    """An editor that follows .editorconfig changes no line that was not edited."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    names = [name for name in listing.stdout.decode().split("\0") if (ROOT / name).is_file()]
    assert "Makefile" in names

    for name in filter(None, names):
        content = (ROOT / name).read_bytes()
        assert b"\r\n" not in content or GOLDEN_OR_LOCK.match(name), name
        if not GOLDEN_OR_LOCK.match(name):
            assert not re.search(rb"[ \t]+$", content, re.MULTILINE), name
            assert content.endswith(b"\n") or not content, name


# ---------------------------------------------------------------------- package, image, make


def test_the_package_carries_its_readme_and_its_licence(tmp_path):
    """What the build backend of the lock makes of pyproject.toml. No field names a host or a person."""
    code = "import flit_core.buildapi as b, sys; b.prepare_metadata_for_build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, check=True, timeout=60)
    (folder,) = tmp_path.iterdir()

    metadata = Parser().parsestr((folder / "METADATA").read_text())

    assert "Apache-2.0" == metadata["License-Expression"]
    assert "LICENSE" == metadata["License-File"]
    assert "text/markdown" == metadata["Description-Content-Type"]
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text().strip()
    assert len(metadata.get_all("Classifier")) > 10
    assert metadata["Keywords"]
    assert metadata["Author-email"] is None
    assert metadata["Project-URL"] is None


def test_each_python_of_the_gate_is_a_classifier():
    """An index shows the classifiers as the supported versions."""
    found = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    newest = re.search(r"^NEWEST_PYTHON=(\S+)", GATE, re.MULTILINE)[1]
    others = re.search(r"^OTHER_PYTHONS=\((.*)\)", GATE, re.MULTILINE)[1].split()

    assert [PROJECT["requires-python"].removeprefix(">="), *others, newest] == found


def test_the_image_copies_only_files_that_exist_and_are_sent_to_the_engine():
    """.dockerignore leaves everything out that it does not name."""
    sent = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]

    assert sent == set(copied)
    assert [] == [name for name in copied if not (ROOT / name).exists()]


def test_the_image_has_every_file_that_the_package_is_built_of():
    """The backend reads more than the code: the build of the image fails where it is missing."""
    build = DOCKERFILE[: DOCKERFILE.index("RUN pip install --no-deps --no-build-isolation .")]

    for name in ("pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "otp_service"):
        assert re.search(rf"^COPY .*\b{re.escape(name)}\b", build, re.MULTILINE), name


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_make_image_builds_with_the_engine_that_is_there(engine):
    """The base image is that of the Dockerfile, and `PYTHON_IMAGE` pins it."""
    default = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)[1]

    usual = run_make("--dry-run", "image", f"ENGINE={engine}").stdout
    pinned = run_make("--dry-run", "image", f"ENGINE={engine}", "PYTHON_IMAGE=p@sha256:1").stdout

    assert f"{engine} build --build-arg PYTHON_IMAGE='{default}'" in usual
    assert f"{engine} build --build-arg PYTHON_IMAGE='p@sha256:1'" in pinned


def test_make_image_without_an_engine_says_what_to_install():
    """The error of a shell that runs the empty name would not."""
    refused = run_make("image", "ENGINE=")

    assert 0 != refused.returncode
    assert "install docker or podman" in refused.stderr


def test_the_environment_of_the_example_has_the_versions_that_are_tested():
    """`make example` installs another lock than the tests."""
    tested, shown = (
        dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements-test.lock", "requirements-example.lock")
    )

    assert {"django", "fastapi", "httpx", "msgspec"} <= set(shown)
    assert {name: tested.get(name) for name in shown} == shown


def test_every_make_target_is_listed_with_its_purpose():
    """`make` alone prints what there is; a target without a comment is not in it."""
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)[1].split()
    listed = re.findall(r"^  make (\w+)", run_make("help").stdout, re.MULTILINE)

    assert set(phony) == list_targets() == set(listed)
