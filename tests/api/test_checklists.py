"""The checklists at `PROBLEM_TYPES` and `ChallengeView`: each omitted step fails here."""

import re
from pathlib import Path

import msgspec
import pytest
import yaml

from otp_service.api.openapi import DOCUMENTED_HANDLERS
from otp_service.api.openapi_names import name_problem
from otp_service.api.openapi_problems import EXAMPLE_ERRORS
from otp_service.api.problems import FRAMEWORK_PROBLEMS, PROBLEM_TYPES, build_problem
from otp_service.core.errors import OtpError
from otp_service.schemas import ChallengeView, Problem
from tests.api.test_problems import leaves


ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "api-guide.md").read_text(encoding="utf-8")
DOCUMENT = yaml.load((ROOT / "openapi.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
HEAD_PROBLEMS = {"request-timeout", "not-implemented"}
"""Answers to requests that no client library sends. The document does not list them for each route."""
RAISED = {error.problem_type for error in leaves()}


@pytest.mark.parametrize("problem_type", PROBLEM_TYPES)
def test_each_problem_type_has_an_error_and_is_documented(problem_type: str) -> None:
    """It is raised by core or by Litestar, a route lists it, and the guide says what to do."""
    is_raised = problem_type in RAISED | {*FRAMEWORK_PROBLEMS.values(), OtpError.problem_type}

    assert is_raised
    is_answered = name_problem(problem_type) in DOCUMENT["components"]["schemas"]
    assert is_answered or problem_type in HEAD_PROBLEMS
    assert re.search(rf"^\|.*`{problem_type}`", GUIDE, re.MULTILINE)


def test_the_guide_says_what_to_show_for_each_problem_once() -> None:
    """A developer finds every type in the table, with what the back end does."""
    _, _, section = GUIDE.partition("## What to show to the person")
    rows = [line.split("|")[1:4] for line in section.splitlines() if line.startswith("| `")]
    shown = [slug for slugs, _, _ in rows for slug in re.findall(r"`([a-z-]+)`", slugs)]

    assert sorted(PROBLEM_TYPES) == sorted(shown)
    assert {"Code", "Number", "Wait", "Later", "nothing"} == {each.strip() for _, each, _ in rows}
    assert all(action.strip() for _, _, action in rows)


def test_each_problem_of_a_route_is_defined() -> None:
    """A misspelled type in `problems=` would be missing from the document."""
    listed = {slug for handler in DOCUMENTED_HANDLERS for slug in handler.opt.get("problems", ())}

    assert listed <= PROBLEM_TYPES.keys()


def test_each_extension_member_has_an_example() -> None:
    """The members of `Problem` that only some types have are shown in the document."""
    shown = {name for error in EXAMPLE_ERRORS for name in msgspec.to_builtins(build_problem(error))}

    assert set(Problem.__struct_fields__) == shown


@pytest.mark.parametrize("name", ChallengeView.__struct_fields__)
def test_each_field_of_the_challenge_view_is_documented(name: str) -> None:
    """In openapi.yaml, and in the API guide by its name or in an example."""
    schema = DOCUMENT["components"]["schemas"]["Challenge"]

    assert name in schema["properties"]
    assert re.search(rf'["`]{name}["`]', GUIDE)
