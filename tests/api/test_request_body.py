"""A body is parsed strictly or refused, and a refusal names the field, never the value."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from otp_service.api import request_body
from tests.api.fakes import CHALLENGE_ID, ApiHarness, build_auth_header, build_scope, run_asgi_call
from tests.hooks.products import PRODUCTS


PATH = "/v1/challenges"
JSON = {"Content-Type": "application/json"}


def errors_of(response):
    """Return the (path, message) pairs of a 400."""
    assert 400 == response.status_code, response.text
    problem = response.json()
    assert "/problems/invalid-request" == problem["type"]
    return [(error["path"], error["message"]) for error in problem["errors"]]


async def asked_with(api: ApiHarness, body: bytes | str, **headers: str):
    """Issue with this body."""
    return await api.call_public("POST", PATH, content=body, headers=JSON | headers)


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        ('{"purpose": "login"}', "phone_number", "is missing"),
        ('{"phone_number": "+1", "colour": 1}', "colour", "is not a field of this request"),
        ('{"phone_number": 447400123456}', "phone_number", "must be text, not a number"),
        ('{"phone_number": null}', "phone_number", "must be text, not null"),
        (
            '{"phone_number": "+1", "account": ["a"]}',
            "account",
            "must be text, not an array",
        ),
        (
            '{"phone_number": "+1", "account": ""}',
            "account",
            "must be text of 1 to 128 characters, without NUL",
        ),
        (
            '{"phone_number": "+1", "purpose": "Login"}',
            "purpose",
            "must be 1 to 64 lower-case letters, digits, dots, underscores and hyphens, the first a letter or digit",
        ),
        ('{"phone_number": "+1", "phone_number": "+2"}', "phone_number", "is sent more than once"),
        ("[]", "", "the body must be a JSON object"),
        ('"text"', "", "the body must be a JSON object"),
    ],
)
async def test_a_body_that_is_not_as_documented_is_told_by_field(
    api: ApiHarness, body, path, message
) -> None:
    """R58: unknown fields, wrong types and repeated names are reported."""
    assert [(path, message)] == errors_of(await asked_with(api, body))
    assert [] == api.service.calls


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{} {}",
        b"NaN",
        b'{"phone_number": NaN}',
        b'{"phone_number": -Infinity}',
        b'{"phone_number": "\xff"}',
        b'\xef\xbb\xbf{"phone_number": "+1"}',
        '{"phone_number": "+1"}'.encode("utf-16"),
        b'{"phone_number": "+1", "account": "\\ud800"}',
        b'{"phone_number": "+1", "\\udfff": "x"}',
        b"[" * 16_000,
        b'{"a":' * 3000,
        b'{"phone_number": ' + b"9" * 9000 + b"}",
    ],
)
async def test_what_is_no_json_is_refused_and_breaks_nothing(api: ApiHarness, body) -> None:
    """R58: invalid UTF-8, half surrogate pairs, NaN, deep nesting and endless integers."""
    assert [("", "the body must be one JSON object in UTF-8")] == errors_of(
        await asked_with(api, body)
    )


@pytest.mark.parametrize(
    "purpose", ["", "Login", "login ", "login\n", "-login", "a" * 65, "lögin", "login\0"]
)
async def test_a_purpose_has_its_alphabet(api: ApiHarness, purpose) -> None:
    """With a `$` in the pattern a line feed at the end would match."""
    body = json.dumps({"phone_number": "+447400123456", "purpose": purpose})

    assert ["purpose"] == [path for path, _ in errors_of(await asked_with(api, body))]


@pytest.mark.parametrize("account", ["a" * 129, "a\0b"])
async def test_an_account_has_its_length_and_no_nul(api: ApiHarness, account) -> None:
    """Any 128 characters except NUL are accepted."""
    body = json.dumps({"phone_number": "+447400123456", "account": account})

    assert ["account"] == [path for path, _ in errors_of(await asked_with(api, body))]


@pytest.mark.parametrize("number", ["", "+44 7400 123456", "+44\uff17400123456", "+4" * 99, "+1\0"])
async def test_every_string_as_a_number_is_left_to_the_service(api: ApiHarness, number) -> None:
    """R35: every invalid one is 422 invalid-phone-number, however long it is."""
    response = await asked_with(api, json.dumps({"phone_number": number}))

    assert 201 == response.status_code
    assert number == api.service.calls[0][2].phone_number


@pytest.mark.parametrize("field", ["+447400123456", "123456", "a" * 41, "a b", "<b>", "é"])
async def test_a_name_that_looks_like_none_is_not_repeated(api: ApiHarness, field) -> None:
    """R68: it could be a number or a code in the wrong place."""
    response = await asked_with(api, json.dumps({"phone_number": "+1", field: 1}))

    assert [("", "is not a field of this request")] == errors_of(response)
    assert field not in response.text


async def test_no_message_repeats_a_value(api: ApiHarness) -> None:
    """R68: no message contains text of the caller."""
    for name in ("phone_number", "purpose", "account", "locale", "client_ip"):
        for value in ("X+447400123456" * 20, 447400123456, ["447400123456"]):
            body = {"phone_number": "+447400123456"} | {name: value}
            response = await asked_with(api, json.dumps(body))

            assert "447400123456" not in response.text


@pytest.mark.parametrize(
    "sent",
    [
        *("application/json", "Application/JSON", "application/json; charset=utf-8"),
        *('application/json;charset="UTF-8"', "application/json ; charset=UTF-8"),
    ],
)
async def test_json_in_utf_8_is_what_is_read(api: ApiHarness, sent) -> None:
    """R58: the spelling of the charset does not matter."""
    response = await asked_with(api, '{"phone_number": "+447400123456"}', **{"Content-Type": sent})

    assert 201 == response.status_code


@pytest.mark.parametrize(
    "sent",
    [
        *("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a"),
        *("application/json; charset=latin-1", "application/json; charset=utf-16"),
        *("application/problem+json", "application/jsonp", "application/json, text/plain"),
    ],
)
async def test_anything_else_than_json_is_415(api: ApiHarness, sent) -> None:
    """R58: a page on another site can send only forms and plain text without a preflight."""
    response = await asked_with(api, '{"phone_number": "+447400123456"}', **{"Content-Type": sent})

    assert 415 == response.status_code
    assert "/problems/unsupported-media-type" == response.json()["type"]


@pytest.mark.parametrize("coding", ["gzip", "identity", "br, gzip", ""])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("POST", PATH), ("POST", f"{PATH}/{CHALLENGE_ID}/verify")),
        *(("POST", f"{PATH}/{CHALLENGE_ID}/resend"), ("DELETE", f"{PATH}/{CHALLENGE_ID}")),
        *(("POST", "/v1/callbacks/acme"), ("GET", "/v1/callbacks/acme")),
    ],
)
async def test_a_compressed_body_is_415(api: ApiHarness, method, path, coding) -> None:
    """RFC 9110, 15.5.16: an unsupported coding is refused like an unsupported type."""
    response = await api.call_public(
        method, path, content=b"\x1f\x8b", headers=JSON | {"Content-Encoding": coding}
    )

    assert 415 == response.status_code
    assert [] == api.service.calls


async def test_a_content_coding_of_no_body_means_nothing(api: ApiHarness) -> None:
    """There is nothing to decode."""
    path = f"{PATH}/{CHALLENGE_ID}"

    response = await api.call_public("GET", path, headers={"Content-Encoding": "gzip"})

    assert 200 == response.status_code


@pytest.mark.parametrize("path", [PATH, f"{PATH}/{CHALLENGE_ID}/resend", "/v1/callbacks/acme"])
async def test_a_body_in_thousands_of_parts_is_413_and_closes(api: ApiHarness, path) -> None:
    """R56: 256 KiB in chunks of one byte cost a worker 6 s, without an API key."""
    scope = build_scope(
        *("POST", path),
        (b"authorization", build_auth_header("shop")["Authorization"].encode()),
        (b"transfer-encoding", b"chunked"),
    )
    sent, received = [], []

    async def receive_byte():
        received.append(b" ")
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(message):
        sent.append(message)

    await api.public(scope, receive_byte, send)

    assert 413 == sent[0]["status"]
    assert (b"connection", b"close") in sent[0]["headers"]
    assert request_body.MAX_BODY_PARTS == len(received)


@pytest.mark.parametrize(
    ("path", "kib"),
    [(PATH, 16), ("/v1/callbacks/acme", 256), ("/v1/hooks/supabase", 256)],
)
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_large_body_is_413_with_the_size_that_the_path_admits(
    path: str, kib: int, *, is_chunked: bool
) -> None:
    """R24: before, vendors and products read that 16 KiB were the most."""
    api = ApiHarness(hooks={"supabase": PRODUCTS["supabase"].hook})

    async def send_chunks() -> AsyncIterator[bytes]:
        yield b"x" * kib * 1024
        yield b"x"

    content = send_chunks() if is_chunked else b"x" * (kib * 1024 + 1)

    response = await api.call_public("POST", path, key="shop", content=content)

    assert 413 == response.status_code
    assert f"Send at most {kib} KiB." == response.json()["detail"]


@pytest.mark.parametrize("path", [PATH, f"{PATH}/{CHALLENGE_ID}/resend", "/v1/callbacks/acme"])
async def test_a_body_that_does_not_end_is_408_and_closes(
    api: ApiHarness, monkeypatch: pytest.MonkeyPatch, path
) -> None:
    """RFC 9110 §15.5.9. Otherwise 200 clients that stop inside a body hold 200 connections."""
    monkeypatch.setattr(request_body, "BODY_TIMEOUT_SECONDS", 0.01)
    scope = build_scope(
        *("POST", path),
        (b"authorization", build_auth_header("shop")["Authorization"].encode()),
        (b"transfer-encoding", b"chunked"),
    )
    sent = []

    async def receive_forever():
        return await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    await api.public(scope, receive_forever, send)

    assert 408 == sent[0]["status"]
    assert (b"connection", b"close") in sent[0]["headers"]
    assert b"/problems/request-timeout" in sent[1]["body"]
    assert [] == api.service.calls


async def test_a_query_has_so_many_fields_at_most(api: ApiHarness) -> None:
    """Nothing needs 101, and a worker would be busy with them."""
    for count, message in ((100, "is not a field"), (101, "at most 100 name=value pairs")):
        query = "&".join(f"a{i}=" for i in range(count))
        response = await api.call_public("GET", f"/v1/audit/events?{query}", key="shop-audit")

        assert message in errors_of(response)[0][1]


def test_a_repeated_name_is_found_without_comparing_each_with_each() -> None:
    """A body of 16 KiB has 3,000 names; 9 million comparisons would stop a worker."""
    comparisons = 0

    class CountedName(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal comparisons
            comparisons += 1
            return str.__eq__(self, other)

    names = [f"n{i}" for i in range(3000)]

    found = request_body._collect_fields([(CountedName(name), 1) for name in [*names, names[-1]]])

    assert ("n2999",) == found.repeated_names
    assert comparisons < 3 * len(names)


async def test_a_body_of_16_kib_fits_and_one_byte_more_does_not(api: ApiHarness) -> None:
    """R58: the limit is exact."""
    body = b'{"phone_number": "+447400123456"}'

    assert 201 == (await asked_with(api, body.ljust(16_384))).status_code
    assert 413 == (await asked_with(api, body.ljust(16_385))).status_code


async def test_a_chunked_body_is_bounded_too(api: ApiHarness) -> None:
    """R58: without a length it is counted while it arrives, and not read beyond the limit."""
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 1000

    response = await asked_with(api, endless())

    assert 413 == response.status_code
    assert sent < 20


@pytest.mark.parametrize(
    ("announced", "size", "status"), [(b"99999999", 0, 413), (b"5", 20_000, 413), (b"-1", 40, 400)]
)
async def test_an_announced_length_is_not_trusted(api: ApiHarness, announced, size, status) -> None:
    """R58: a large one is refused at once; a small one does not admit a large body."""
    scope = build_scope(
        *("POST", PATH),
        (b"authorization", build_auth_header("shop")["Authorization"].encode()),
        (b"content-type", b"application/json"),
        (b"content-length", announced),
    )

    answer = await run_asgi_call(
        api.public, scope, {"type": "http.request", "body": b" " * size, "more_body": False}
    )

    assert status == answer[0]


async def test_a_caller_who_goes_away_within_his_body_asked_for_nothing(
    api: ApiHarness, caplog
) -> None:
    """A client can disconnect at any time: it is not an error of the service."""
    scope = build_scope(
        *("POST", PATH), (b"authorization", build_auth_header("shop")["Authorization"].encode())
    )

    status, *_ = await run_asgi_call(
        api.public, scope, {"type": "http.request", "body": b"{", "more_body": True}
    )

    assert 400 == status
    assert [] == caplog.records
    assert [] == api.service.calls


@pytest.mark.parametrize("path", ["verify", "resend"])
@pytest.mark.parametrize(
    ("sent", "key"),
    [
        *(('"abc"', "abc"), ("abc", "abc"), ('"a b"', "a b"), (r'"a\"b\\c"', 'a"b\\c')),
        *(("a" * 255, "a" * 255), ('"' + "a" * 255 + '"', "a" * 255), (" abc ", "abc")),
    ],
)
async def test_an_idempotency_key_is_the_same_quoted_or_bare(
    api: ApiHarness, path, sent, key
) -> None:
    """R53: RFC 8941 requires quotes, most clients send none."""
    body = {"code": "123456"} if path == "verify" else {}

    response = await api.call_public(
        "POST", f"{PATH}/{CHALLENGE_ID}/{path}", json=body, headers={"Idempotency-Key": sent}
    )

    assert 200 == response.status_code
    assert key == api.service.calls[0][-1]


@pytest.mark.parametrize(
    "sent",
    [
        *("", '""', '"abc', 'abc"', "a b", "a,b", '"a", "b"', '"a";x=1', '"a\\b"', "a" * 256),
        *('"' + "a" * 256 + '"', "ä", '"ä"', "a\tb"),
    ],
)
async def test_a_malformed_idempotency_key_is_refused(api: ApiHarness, sent) -> None:
    """R53: a guess could do one thing twice."""
    response = await api.call_public(
        "POST",
        PATH,
        json={"phone_number": "+447400123456"},
        headers={"Idempotency-Key": sent.encode("latin-1")},
    )

    assert ["Idempotency-Key"] == [path for path, _ in errors_of(response)]


async def test_a_repeated_idempotency_key_is_refused(api: ApiHarness) -> None:
    """R53: it is unknown which one counts."""
    headers = [
        *build_auth_header("shop").items(),
        ("Idempotency-Key", "a"),
        ("Idempotency-Key", "a"),
    ]

    response = await api.call_public(
        "POST", PATH, json={"phone_number": "+447400123456"}, headers=headers
    )

    assert ["Idempotency-Key"] == [path for path, _ in errors_of(response)]


async def test_without_an_idempotency_key_there_is_none(api: ApiHarness) -> None:
    """The header is optional."""
    await api.call_public("POST", PATH, json={"phone_number": "+447400123456"})

    assert None is api.service.calls[0][-1]


@pytest.mark.parametrize("member", ["purpose", "locale", "client_ip", "account"])
async def test_an_optional_member_that_is_null_counts_as_missing(
    api: ApiHarness, member: str
) -> None:
    """Also one whose default is another value than null; an unknown one is still refused."""
    number = {"phone_number": "+447400123456"}
    for body in (number, {**number, member: None}):
        assert 201 == (await api.call_public("POST", PATH, json=body)).status_code
    unknown = await api.call_public("POST", PATH, json={**number, "code": None})

    (_, _, without, _), (_, _, with_null, _) = api.service.calls
    assert without == with_null
    assert 400 == unknown.status_code
