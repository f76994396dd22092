"""Every example of openapi.yaml is valid, and of the call that shows it."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
import pytest
from openapi_schema_validator import OAS31Validator

from otp_service.api.openapi import DOCUMENTED_HANDLERS
from otp_service.api.openapi_examples import REQUEST_EXAMPLES, RESPONSE_EXAMPLES
from otp_service.api.openapi_names import build_schema_ref, name_operation
from otp_service.api.problems import build_problem
from otp_service.api.request_body import convert_fields
from otp_service.core.authenticator import create_authenticator, parse_base32_secret
from otp_service.core.codes import normalize_code
from otp_service.core.errors import MalformedCode
from otp_service.core.otpauth_uri import build_otpauth_uri
from otp_service.core.recovery_codes import normalize_recovery_code
from tests.api.fakes import NOW_MS
from tests.api.test_openapi import DOCUMENT, OPERATIONS, list_problem_contents, resolve


HANDLERS = {name_operation(handler): handler for handler in DOCUMENTED_HANDLERS}
REQUEST_KINDS = {
    name: handler.opt["request_body"]
    for name, handler in HANDLERS.items()
    if "request_body" in handler.opt
}
RESPONSE_KINDS = {
    name: handler.opt["response_body"]
    for name, handler in HANDLERS.items()
    if "response_body" in handler.opt
}
OPTIONAL_MEMBERS = [
    (name, field.name)
    for name, kind in REQUEST_KINDS.items()
    for field in msgspec.structs.fields(kind)
    if not field.required
]
CODE_CALLS = ("verifyChallenge", "confirmAuthenticator", "verifyAuthenticator")
FACTOR_CALLS = ("confirmAuthenticator", "verifyAuthenticator", "verifyRecoveryCode")


def list_faults(schema: Any, value: Any) -> list[str]:
    """Return why the value breaks the schema, which may refer to components."""
    whole = schema | {"components": DOCUMENT["components"]}
    return [error.message for error in OAS31Validator(whole).iter_errors(value)]


def list_bodies() -> Iterator[Any]:
    """Yield the id of an operation, `request` or a status, and each described body."""
    for name, operation in OPERATIONS.items():
        for status, response in operation["responses"].items():
            for content in resolve(response).get("content", {}).values():
                yield pytest.param(content, id=f"{name} {status}")
        for content in operation.get("requestBody", {}).get("content", {}).values():
            yield pytest.param(content, id=f"{name} request")


def get_problem_example(name: str, slug: str) -> Any:
    """Return the example that a call shows for a problem type."""
    for _, content in list_problem_contents(name):
        if slug in content["examples"]:
            return resolve(content["examples"][slug])["value"]
    raise KeyError(slug)


def list_member_schemas(part: Any) -> Iterator[Any]:
    """Yield each schema below `part` that has examples of its own."""
    if isinstance(part, dict):
        if "type" in part and isinstance(part.get("examples"), list):
            yield part
        for below in part.values():
            yield from list_member_schemas(below)
    elif isinstance(part, list):
        for below in part:
            yield from list_member_schemas(below)


@pytest.mark.parametrize("content", [*list_bodies()])
def test_each_body_has_examples_that_are_valid(content: Any) -> None:
    """Requests, answers and problems, by the schema that stands next to them."""
    examples = [content["example"]] if "example" in content else []
    examples += [resolve(example)["value"] for example in content.get("examples", {}).values()]

    assert examples
    for example in examples:
        assert not list_faults(content["schema"], example)


def test_the_validator_finds_what_is_wrong() -> None:
    """Otherwise a broken reference would make every example valid."""
    ref = build_schema_ref("VerifyRecoveryCodeRequest")

    assert list_faults(ref, {"recovery_set": "a1.x", "account": "u-81", "code": "1"})


def test_each_example_of_a_member_is_valid() -> None:
    found = list(list_member_schemas(DOCUMENT))

    assert len(found) > 20
    assert not [fault for s in found for one in s["examples"] for fault in list_faults(s, one)]


def test_the_examples_are_those_of_calls_with_a_body() -> None:
    """None is left over from a call that has gone."""
    assert REQUEST_EXAMPLES.keys() == REQUEST_KINDS.keys()
    assert RESPONSE_EXAMPLES.keys() == RESPONSE_KINDS.keys()


@pytest.mark.parametrize("name", REQUEST_KINDS)
def test_the_service_accepts_each_example_of_a_request(name: str) -> None:
    """It has the required members, and none that the service does not know."""
    request = convert_fields(REQUEST_EXAMPLES[name], REQUEST_KINDS[name])

    assert isinstance(request, REQUEST_KINDS[name])


@pytest.mark.parametrize("name", RESPONSE_KINDS)
def test_each_example_of_an_answer_has_the_members_of_its_struct(name: str) -> None:
    kind, example = RESPONSE_KINDS[name], RESPONSE_EXAMPLES[name]

    view = msgspec.convert(example, kind, strict=True)

    assert msgspec.to_builtins(view) == example


def test_codes_in_examples_are_well_formed() -> None:
    """By the functions that the service parses them with."""
    for name in CODE_CALLS:
        assert normalize_code(REQUEST_EXAMPLES[name]["code"], 6)
    codes = RESPONSE_EXAMPLES["createRecoveryCodes"]["codes"]
    assert 10 == len({normalize_recovery_code(code) for code in codes})
    assert REQUEST_EXAMPLES["verifyRecoveryCode"]["code"] in codes


def test_the_link_is_one_that_the_service_builds() -> None:
    """Of the example's secret: with issuer, algorithm, digits and period."""
    example = RESPONSE_EXAMPLES["createAuthenticator"]
    secret = parse_base32_secret(example["secret"], 128)
    authenticator = create_authenticator(bytes, "shop", "u-81", NOW_MS, secret)
    name = REQUEST_EXAMPLES["createAuthenticator"]["name"]

    assert build_otpauth_uri(authenticator, "Shop", name) == example["uri"]


@pytest.mark.parametrize(("name", "member"), OPTIONAL_MEMBERS)
def test_an_optional_member_of_a_request_may_be_null(name: str, member: str) -> None:
    """The document says what the service does: null counts as absent."""
    schema = OPERATIONS[name]["requestBody"]["content"]["application/json"]["schema"]
    body = REQUEST_EXAMPLES[name] | {member: None}

    assert not list_faults(schema, body)
    absent = {key: value for key, value in body.items() if key != member}
    kind = REQUEST_KINDS[name]
    assert convert_fields(absent, kind) == convert_fields(body, kind)


@pytest.mark.parametrize("name", REQUEST_KINDS)
def test_a_required_member_of_a_request_is_never_null(name: str) -> None:
    schema = OPERATIONS[name]["requestBody"]["content"]["application/json"]["schema"]
    for field in msgspec.structs.fields(REQUEST_KINDS[name]):
        if field.required:
            assert list_faults(schema, REQUEST_EXAMPLES[name] | {field.name: None})


def test_a_code_of_an_app_has_no_purpose_of_its_own() -> None:
    """A challenge has one, so a code for another purpose fails there alone."""
    described = DOCUMENT["components"]["schemas"]
    texts = [
        described[kind]["properties"]["purpose"]["description"]
        for kind in ("IssueChallengeRequest", "VerifyAuthenticatorRequest")
    ]

    assert [True, False] == ["fails for another" in text for text in texts]


@pytest.mark.parametrize("name", FACTOR_CALLS)
def test_attempts_left_is_shown_for_challenges_alone(name: str) -> None:
    """An account has limits, and no number of attempts."""
    assert "attempts_left" in get_problem_example("verifyChallenge", "incorrect-code")
    assert "attempts_left" not in get_problem_example(name, "incorrect-code")


@pytest.mark.parametrize("name", [*CODE_CALLS, "verifyRecoveryCode"])
def test_a_malformed_code_has_the_text_of_its_call(name: str) -> None:
    """Digits, of the default length, or a recovery code."""
    normalize = partial(normalize_code, digits=6) if name in CODE_CALLS else normalize_recovery_code
    with pytest.raises(MalformedCode) as refusal:
        normalize("1")

    shown = get_problem_example(name, "malformed-code")
    assert msgspec.to_builtins(build_problem(refusal.value)) == shown
