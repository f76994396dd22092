"""The API's description is committed, valid and complete."""

from pathlib import Path

import pytest
import yaml
from openapi_spec_validator import validate

from otp_service.api.problems import PROBLEM_TYPES
from tests.api.fakes import ApiHarness
from tests.api.test_problems import leaves


COMMITTED = Path(__file__).parents[2] / "openapi.yaml"
DOCUMENT = yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))
OPERATIONS = {
    operation["operationId"]: operation
    for methods in DOCUMENT["paths"].values()
    for operation in methods.values()
}


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
    documented = {name.rpartition(".")[2] for name in DOCUMENT["components"]["examples"]}

    assert PROBLEM_TYPES.keys() == documented
    assert documented <= DOCUMENT["components"]["examples"].keys()
    assert {kind.problem_type for kind in leaves()} <= documented


def test_every_example_is_what_it_is_an_example_of() -> None:
    """R51: type and status agree with the response that shows it."""
    examples = DOCUMENT["components"]["examples"]
    for response in DOCUMENT["components"]["responses"].values():
        content = response["content"]["application/problem+json"]
        _, exact = content["schema"]["allOf"]
        for slug, reference in content["examples"].items():
            example = examples[reference["$ref"].rpartition("/")[2]]["value"]
            assert example["type"] == f"/problems/{slug}"
            assert example["type"] in exact["properties"]["type"]["enum"]
            assert example["status"] == exact["properties"]["status"]["const"]
            assert set(exact["required"]) <= example.keys()


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("issue_challenge", "201 400 401 403 409 410 413 415 422 429 500 502 503"),
        ("get_challenge", "200 400 401 403 404 405 413 415 500 503"),
        ("cancel_challenge", "204 400 401 403 404 405 410 413 415 500 503"),
        ("verify_challenge", "200 400 401 403 404 405 410 413 415 422 429 500 503"),
        ("resend_code", "200 400 401 403 404 405 409 410 413 415 422 429 500 502 503"),
        ("unlock_number", "204 400 401 403 413 415 422 500 503"),
        ("unlock_account", "204 400 401 403 413 415 500 503"),
        ("list_events", "200 400 401 403 413 414 415 429 500 503"),
        ("search_events", "200 400 401 403 413 415 422 429 500 503"),
        ("check_liveness", "200"),
        ("check_readiness", "200 503"),
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
    responses = DOCUMENT["components"]["responses"]

    assert {"Retry-After", "RateLimit", "RateLimit-Policy"} == (
        responses["rate-limited"]["headers"].keys()
    )
    assert {"WWW-Authenticate"} == responses["unauthenticated"]["headers"].keys()
    assert {"Retry-After"} == responses["overloaded.store-unavailable"]["headers"].keys()
    assert {"Location"} == OPERATIONS["issue_challenge"]["responses"]["201"]["headers"].keys()
