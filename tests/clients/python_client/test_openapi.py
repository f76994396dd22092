"""The client has everything that openapi.yaml has: a new call, member or problem needs its counterpart."""

import inspect
import re
from typing import get_args, get_type_hints

import msgspec
import pytest
import yaml

import otp_service_client
from otp_service_client import AsyncOtpClient, OtpClient, ProblemError, calls, errors, results
from otp_service_client.errors import PROBLEM_CLASSES
from tests.processes import REPOSITORY_ROOT


DOCUMENT = yaml.load((REPOSITORY_ROOT / "openapi.yaml").read_text(), yaml.CSafeLoader)
SCHEMAS = DOCUMENT["components"]["schemas"]
GUIDE = (REPOSITORY_ROOT / "docs" / "api-guide.md").read_text()

FOREIGN_OPERATIONS = {
    "receiveReceipts": "receipts are calls of SMS providers",
    "receiveReceiptByGet": "receipts are calls of SMS providers",
    "receiveInboundMessages": "messages from phones are calls of SMS providers",
    "receiveInboundMessageByGet": "messages from phones are calls of SMS providers",
    "receiveHook": "hooks are called by identity products",
}
"""Operations without a method, each with its reason."""

FOREIGN_PROBLEMS = {
    "not-implemented": "of a transfer coding that httpx never sends; its name is Python's NotImplemented",
}
"""Problem types without a class, each with its reason."""

PROBLEM_MEMBERS = {"type", "title", "status", "detail"}

OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    if "operationId" in operation
}
CALLED = sorted(OPERATIONS.keys() - FOREIGN_OPERATIONS)


def to_snake_case(name):
    return re.sub(r"(?=[A-Z])", "_", name).lower()


def get_parameters(operation_id):
    """Return the parameters of the method of an operation."""
    return inspect.signature(getattr(calls, to_snake_case(operation_id))).parameters


def build_example_call(operation_id):
    """Return the call with a value for each parameter."""
    values = {
        name: 1 if "int" in str(parameter.annotation) else "x"
        for name, parameter in get_parameters(operation_id).items()
    }
    return getattr(calls, to_snake_case(operation_id))(**values)


def list_parameter_names(operation, place):
    """Return the names of the parameters in `path`, `query` or `header`."""
    components = DOCUMENT["components"]["parameters"]
    parameters = [
        components[parameter["$ref"].rpartition("/")[2]] if "$ref" in parameter else parameter
        for parameter in operation.get("parameters", [])
    ]
    return {parameter["name"] for parameter in parameters if parameter["in"] == place}


def get_reference(content):
    """Return the name of the schema of a body; None without one."""
    return content["application/json"]["schema"]["$ref"].rpartition("/")[2] if content else None


@pytest.mark.parametrize("client", [OtpClient, AsyncOtpClient])
@pytest.mark.parametrize("operation_id", CALLED)
def test_every_operation_is_a_method(client, operation_id):
    """It is documented, and has the parameters of its call after `self`."""
    method = getattr(client, to_snake_case(operation_id))

    assert to_snake_case(operation_id) == method.__name__
    assert method.__doc__
    assert [*get_parameters(operation_id)] == [*inspect.signature(method).parameters][1:]
    assert (client is AsyncOtpClient) == inspect.iscoroutinefunction(method)


@pytest.mark.parametrize("client", [OtpClient, AsyncOtpClient])
def test_every_method_is_an_operation(client):
    """An operation that was removed or renamed leaves no method."""
    names = {name for name, _ in inspect.getmembers(client, inspect.isfunction)}
    common = {"close", "aclose"}

    assert {to_snake_case(name) for name in CALLED} == {
        name for name in names if not name.startswith("_")
    } - common
    assert FOREIGN_OPERATIONS.keys() <= OPERATIONS.keys()


@pytest.mark.parametrize("operation_id", CALLED)
def test_every_call_has_the_path_and_the_members_of_its_request(operation_id):
    """Method, path, query, body, required members and Idempotency-Key are those of the document."""
    method, path, operation = OPERATIONS[operation_id]
    call = build_example_call(operation_id)
    body = get_reference(operation.get("requestBody", {}).get("content"))
    schema = SCHEMAS[body] if body else {"properties": {}, "required": []}
    in_path = list_parameter_names(operation, "path")
    required = {
        name
        for name, parameter in get_parameters(operation_id).items()
        if parameter.default is parameter.empty
    }

    assert (method.upper(), re.sub(r"\{\w+\}", "x", path)) == (call.method, call.path)
    assert {*schema["properties"]} == {*(call.body or {})}
    assert list_parameter_names(operation, "query") == {*(call.query or {})}
    assert {*schema["required"]} | in_path == required
    assert ("Idempotency-Key" in list_parameter_names(operation, "header")) == call.takes_key
    assert call.takes_key == ("idempotency_key" in get_parameters(operation_id))
    assert call.operation == to_snake_case(operation_id)


@pytest.mark.parametrize("operation_id", CALLED)
def test_every_call_has_the_status_and_the_type_of_its_success(operation_id):
    _, _, operation = OPERATIONS[operation_id]
    call = build_example_call(operation_id)
    ((status, response),) = [
        (status, response)
        for status, response in operation["responses"].items()
        if status.startswith("2")
    ]
    names = {kind.__name__ for kind in call.result_type.__mro__}

    assert int(status) == call.success_status
    assert (get_reference(response.get("content")) or "NoneType") in names


RESULT_SCHEMAS = sorted(
    {
        name
        for name, schema in SCHEMAS.items()
        if "properties" in schema
        and not name.endswith(("Problem", "Request"))
        and name not in {"AuditEvent", "UnauthenticEvent"}  # dicts: their `type` decides
    }
)


@pytest.mark.parametrize("name", RESULT_SCHEMAS)
def test_every_reply_has_its_members(name):
    """A member that is not required, or may be null, has None in its type."""
    schema, kind = SCHEMAS[name], getattr(results, name)
    hints = get_type_hints(kind)
    required = {field.name for field in msgspec.structs.fields(kind) if field.required}

    assert {*schema["properties"]} == {field.name for field in msgspec.structs.fields(kind)}
    assert {*schema["required"]} == required
    for member, rule in schema["properties"].items():
        can_be_none = "null" in str(rule) or member not in required
        assert can_be_none == (type(None) in get_args(hints[member])), member
        assert ("date-time" in str(rule)) == ("datetime" in str(hints[member])), member


def list_problem_slugs():
    """Return every problem type that a schema or an example of the document has."""
    of_schemas = {
        slug
        for schema in SCHEMAS.values()
        for slug in schema.get("properties", {}).get("type", {}).get("enum", [])
        if str(slug).startswith("/problems/")
    }
    examples = DOCUMENT["components"]["examples"].values()
    of_examples = {example["value"]["type"] for example in examples if "value" in example}
    return {slug.removeprefix("/problems/") for slug in of_schemas | of_examples}


def find_problem_schema(slug):
    """Return the schema of a problem; one that every call can have is only in an example."""
    for schema in SCHEMAS.values():
        if schema.get("properties", {}).get("type", {}).get("enum") == [f"/problems/{slug}"]:
            return schema
    (example,) = [
        example["value"]
        for example in DOCUMENT["components"]["examples"].values()
        if example["value"]["type"] == f"/problems/{slug}"
    ]
    return {"properties": {**example, "status": {"const": example["status"]}}}


def test_every_problem_type_is_an_exception_and_the_reverse():
    slugs = list_problem_slugs()

    assert len(slugs) > 30
    assert slugs - FOREIGN_PROBLEMS.keys() == PROBLEM_CLASSES.keys()
    assert FOREIGN_PROBLEMS.keys() <= slugs


@pytest.mark.parametrize("slug", sorted(list_problem_slugs() - FOREIGN_PROBLEMS.keys()))
def test_every_problem_has_its_name_its_status_and_its_members(slug):
    schema, kind = find_problem_schema(slug), PROBLEM_CLASSES[slug]
    members = schema["properties"].keys() - PROBLEM_MEMBERS

    assert slug.title().replace("-", "") == kind.__name__
    assert schema["properties"]["status"]["const"] == kind.status
    assert kind is getattr(otp_service_client, kind.__name__)
    assert members <= {name for name in dir(kind) if not name.startswith("_")}
    assert members == {*kind.__annotations__} or not members


def list_guide_problems(message):
    """Return the problem types for which the guide shows one message."""
    table = GUIDE.partition("## What to show to the person")[2].partition("\n## ")[0]
    rows = [row for row in table.splitlines() if f" | {message} | " in row]
    return {slug for row in rows for slug in re.findall(r"`([a-z-]+)`", row.split("|")[1])}


@pytest.mark.parametrize(
    ("message", "group"), [("Code", errors.CodeRefused), ("Number", errors.NumberRefused)]
)
def test_a_group_has_the_problems_for_which_the_guide_shows_one_message(message, group):
    """So that a login catches the group and shows the message."""
    grouped = {slug for slug, kind in PROBLEM_CLASSES.items() if issubclass(kind, group)}

    assert list_guide_problems(message) == grouped


def test_every_name_is_exported_and_documented():
    public = {
        name: value
        for module in (errors, results)
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__
    }

    assert sorted([*public, "AsyncOtpClient", "OtpClient"]) == otp_service_client.__all__
    assert all(kind.__doc__ for kind in public.values() if not issubclass(kind, ProblemError))
