"""The API's description is committed, valid and complete."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_spec_validator import validate

from otp_service.api.problems import PROBLEM_TYPES
from tests.api.fakes import ApiHarness
from tests.api.test_problems import leaves


COMMITTED = Path(__file__).parents[2] / "openapi.yaml"
DOCUMENT = yaml.load(COMMITTED.read_text(encoding="utf-8"), yaml.CSafeLoader)
OPERATIONS = {
    operation["operationId"]: operation
    for methods in DOCUMENT["paths"].values()
    for operation in methods.values()
}
COMPONENTS = DOCUMENT["components"]


def resolve(part: Any) -> Any:
    """Return the component of a reference, or the part itself."""
    if "$ref" not in part:
        return part
    found = DOCUMENT
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


def list_problem_contents(name: str) -> Iterator[tuple[str, Any]]:
    """Yield each status of an operation with a problem, and the description of its body."""
    for status, response in OPERATIONS[name]["responses"].items():
        content = resolve(response).get("content", {})
        if "application/problem+json" in content:
            yield status, content["application/problem+json"]


async def test_the_committed_document_is_the_one_that_is_served(api: ApiHarness) -> None:
    """`otp-service openapi > openapi.yaml` updates it."""
    response = await api.get_admin("/openapi.yaml")

    assert "application/yaml" == response.headers["content-type"]
    assert COMMITTED.read_text(encoding="utf-8") == response.text


def test_the_document_is_openapi() -> None:
    """Version 3.1, so that its schemas are JSON Schema."""
    validate(DOCUMENT)

    assert DOCUMENT["openapi"].startswith("3.1")


def test_every_error_has_its_problem_in_the_document() -> None:
    """R51: as httpx checks that each of httpcore's exceptions is mapped."""
    documented = [example["value"]["type"] for example in COMPONENTS["examples"].values()]

    assert sorted(f"/problems/{slug}" for slug in PROBLEM_TYPES) == sorted(documented)
    assert {f"/problems/{kind.problem_type}" for kind in leaves()} <= {*documented}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_example_of_a_problem_has_the_type_and_the_status_of_its_response(name: str) -> None:
    """R51: also where several types share a status."""
    for status, content in list_problem_contents(name):
        for slug, reference in content["examples"].items():
            example = resolve(reference)["value"]
            assert f"/problems/{slug}" == example["type"]
            assert int(status) == example["status"]


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("issueChallenge", "201 400 401 403 409 410 413 415 422 429 500 502 503"),
        ("getChallenge", "200 400 401 403 404 405 413 415 500 503"),
        ("cancelChallenge", "204 400 401 403 404 405 410 413 415 500 503"),
        ("verifyChallenge", "200 400 401 403 404 405 410 413 415 422 429 500 503"),
        ("resendCode", "200 400 401 403 404 405 409 410 413 415 422 429 500 502 503"),
        ("unlockNumber", "204 400 401 403 413 415 422 500 503"),
        ("unlockAccount", "204 400 401 403 413 415 500 503"),
        ("listEvents", "200 400 401 403 413 414 415 429 500 503"),
        ("searchEvents", "200 400 401 403 413 415 422 429 500 503"),
        ("checkLiveness", "200"),
        ("checkReadiness", "200 503"),
    ],
)
def test_each_call_says_how_it_can_be_answered(name, statuses) -> None:
    """The statuses are those of the contract's table."""
    assert statuses.split() == sorted(OPERATIONS[name]["responses"])


def test_patterns_are_javascripts() -> None:
    """JSON Schema uses the patterns of ECMA-262, which has no \\Z."""
    text = COMMITTED.read_text(encoding="utf-8")

    assert r"\Z" not in text
    assert "^[a-z0-9][a-z0-9._-]{0,63}$" in text


def test_headers_are_documented_where_they_are_sent() -> None:
    """R52: and nowhere else."""
    responses = COMPONENTS["responses"]

    assert {"Retry-After", "RateLimit", "RateLimit-Policy"} == (
        responses["RateLimited"]["headers"].keys()
    )
    assert {"WWW-Authenticate"} == responses["Unauthenticated"]["headers"].keys()
    assert {"Retry-After"} == responses["Unavailable"]["headers"].keys()
    assert {"Location"} == OPERATIONS["issueChallenge"]["responses"]["201"]["headers"].keys()
