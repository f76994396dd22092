"""openapi.yaml gives generators of clients what they need: names, types and optional members.

tests/clients runs two of them. These tests hold what other generators need too.
"""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otp_service.api.openapi import DOCUMENTED_HANDLERS
from otp_service.api.openapi_names import name_request, name_response
from otp_service.audit.event_decoder import decode_event
from otp_service.core.log_entry import Entry, StreamPosition
from tests.api.test_openapi import COMPONENTS, DOCUMENT, OPERATIONS, list_problem_contents, resolve
from tests.api.test_openapi_examples import list_faults


SCHEMAS = COMPONENTS["schemas"]
EVENT_PAGE_ITEMS = SCHEMAS["AuditPage"]["properties"]["events"]["items"]
GOLDEN_EVENTS = Path(__file__).parents[1] / "golden" / "event_instances.txt"
EVENTS = [line for line in GOLDEN_EVENTS.read_text("utf-8").splitlines() if line.startswith("{")]
CAMEL_CASE = re.compile(r"[a-z]+([A-Z][a-z]+)*")
PASCAL_CASE = re.compile(r"([A-Z][a-z]+)+")


def iterate_parts(part: Any) -> Iterator[Any]:
    """Yield each object below `part`, and `part` itself."""
    if isinstance(part, dict):
        yield part
    for below in (
        part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    ):
        yield from iterate_parts(below)


def build_public_event(text: str, *, has_valid_mac: bool) -> dict[str, Any]:
    """Return the event as the API returns it, with a stamp of a fold."""
    entry = Entry(
        partition=7,
        position=StreamPosition(1_795_348_800_250, 42),
        epoch=1_795_348_800_000,
        event=text.encode(),
        mac="1.00",
        stamp=b'{"folded":2,"first":1795348800000,"last":1795348800250}',
    )
    return decode_event(entry, has_valid_mac=has_valid_mac).to_public()


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_is_described(name: str) -> None:
    """A generator makes a function of the id, a module of the tag, and its documentation."""
    operation = OPERATIONS[name]
    (tag,) = operation["tags"]
    parameters = [resolve(parameter) for parameter in operation["parameters"]]

    assert CAMEL_CASE.fullmatch(name)
    assert tag in [described["name"] for described in DOCUMENT["tags"]]
    assert operation["summary"][0].isupper()
    assert operation["description"].endswith(".")
    assert all(parameter["description"].endswith(".") for parameter in parameters)


def test_the_servers_are_those_of_development_and_production() -> None:
    """The first one is what a generated client calls until it is told otherwise."""
    urls = [server["url"] for server in DOCUMENT["servers"]]

    assert ["http://127.0.0.1:8000", "https://{host}"] == urls


@pytest.mark.parametrize("kind", ["schemas", "responses", "parameters", "examples"])
def test_each_component_has_a_name_for_a_type(kind: str) -> None:
    """And is used: none is left over from a call that has gone."""
    refs = {part["$ref"] for part in iterate_parts(DOCUMENT) if "$ref" in part}
    head_problems = {"RequestTimeout", "NotImplemented"}

    assert not [name for name in COMPONENTS[kind] if not PASCAL_CASE.fullmatch(name)]
    unused = {name for name in COMPONENTS[kind] if f"#/components/{kind}/{name}" not in refs}
    assert unused == (head_problems if kind == "examples" else set())


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_problem_has_a_type_of_its_own(name: str) -> None:
    """A client tells the problems of one status apart by `type`, which has one value in each."""
    for _, content in list_problem_contents(name):
        schema = content["schema"]
        members = [resolve(each) for each in schema.get("oneOf", [schema])]
        values = list(chain(*(member["properties"]["type"]["enum"] for member in members)))
        assert [f"/problems/{slug}" for slug in content["examples"]] == values
        if "oneOf" in schema:
            assert "type" == schema["discriminator"]["propertyName"]
            refs = [each["$ref"] for each in schema["oneOf"]]
            assert dict(zip(values, refs, strict=True)) == schema["discriminator"]["mapping"]


def test_no_schema_is_put_together_by_all_of() -> None:
    """A `const` in one was what made openapi-python-client drop every problem."""
    assert not [part for part in iterate_parts(DOCUMENT) if "allOf" in part]


def test_each_enum_has_a_type() -> None:
    enums = [part for part in iterate_parts(SCHEMAS) if isinstance(part.get("enum"), list)]

    assert len(enums) > 30
    for part in enums:
        assert part["type"] == (["string", "null"] if None in part["enum"] else "string")


@pytest.mark.parametrize("handler", DOCUMENTED_HANDLERS, ids=lambda each: each.handler_name)
def test_an_optional_member_of_a_request_has_no_default(handler: Any) -> None:
    """With one, openapi-typescript requires it, and openapi-python-client always sends it."""
    if kind := handler.opt.get("request_body"):
        schema = SCHEMAS[name_request(handler)]
        fields = msgspec.structs.fields(kind)
        assert [field.name for field in fields if field.required] == schema["required"]
        assert not [part for part in iterate_parts(schema) if "default" in part]
        assert not schema["additionalProperties"]


@pytest.mark.parametrize("handler", DOCUMENTED_HANDLERS, ids=lambda each: each.handler_name)
def test_a_member_of_a_response_that_is_always_written_is_required(handler: Any) -> None:
    """Also `status`, which has a default in its struct: a client need not ask whether it is there."""
    if kind := handler.opt.get("response_body"):
        always = {f.name for f in msgspec.structs.fields(kind) if f.default is not msgspec.UNSET}
        assert always == {*SCHEMAS[name_response(kind)]["required"]}


def test_defaults_are_described() -> None:
    """People read them, and generators do not send them."""
    purpose = SCHEMAS["IssueChallengeRequest"]["properties"]["purpose"]
    limit = SCHEMAS["SearchEventsRequest"]["properties"]["limit"]

    assert purpose["description"].endswith(" The default is `login`.")
    assert limit["description"].endswith(" The default is `100`.")


@pytest.mark.parametrize("text", EVENTS)
def test_each_event_is_typed(text: str) -> None:
    """Every event type of the golden file, with all members and with the fewest."""
    event = build_public_event(text, has_valid_mac=True)

    assert not list_faults(EVENT_PAGE_ITEMS, event)
    assert event.keys() <= SCHEMAS["AuditEvent"]["properties"].keys()


@pytest.mark.parametrize("claimed", ['{"type":5,"versions":[],"status":{}}', '{"copy_of":1}', "["])
def test_an_entry_that_no_worker_wrote_is_told_apart_from_an_event(claimed: str) -> None:
    """An attacker with write access to Redis chooses its members, and must not break a client."""
    entry = build_public_event(claimed, has_valid_mac=False)

    assert not list_faults(EVENT_PAGE_ITEMS, entry)
    assert not list_faults(SCHEMAS["UnauthenticEvent"], entry)
    assert list_faults(SCHEMAS["AuditEvent"], entry)


def test_each_member_of_an_event_is_described() -> None:
    members = SCHEMAS["AuditEvent"]["properties"].values()

    assert len(members) > 40
    assert not [member for member in members if not re.match(r"[A-Z`].*\.$", member["description"])]
