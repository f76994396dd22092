"""All errors of a request in one answer, each with its path, in plain words."""

import json

import pytest
from msgspec import inspect

from otp_service.api.field_errors import MAX_LISTED_ERRORS, list_rules
from otp_service.core.pumping.bot_check import BotCheck
from otp_service.core.tenant import Tenant
from otp_service.schemas import AuditQuery
from tests.api.fakes import CHALLENGE_ID, ApiHarness
from tests.api.test_openapi_examples import REQUEST_KINDS


JSON = {"Content-Type": "application/json"}
CHALLENGES = "/v1/challenges"
JARGON = ("`", "str", "int", "regex", "expected", "\\", "$")

ACCOUNT_RULE = "must be text of 1 to 128 characters, without NUL"
PURPOSE_RULE = (
    "must be 1 to 64 lower-case letters, digits, dots, underscores and hyphens, the first a letter"
    " or digit"
)
ADDRESS_RULE = (
    "must be an IPv4 or IPv6 address like 203.0.113.9, without a port, a zone or brackets"
)
LOCALE_RULE = "must be a language tag (BCP 47) like en or en-GB, with hyphens"
KEY_RULE = "send it once: 1 to 255 visible ASCII characters, or quoted"
UNKNOWN = "is not a field of this request"
REPEATED = "is sent more than once"


async def list_errors(api: ApiHarness, path: str, body: object, *, key="shop", **headers: str):
    """Return path and message of each error of a POST."""
    content = body if isinstance(body, str) else json.dumps(body)
    response = await api.call_public("POST", path, content=content, key=key, headers=JSON | headers)
    assert 400 == response.status_code, response.text
    assert "/problems/invalid-request" == response.json()["type"]
    assert [] == api.service.calls
    return [(error["path"], error["message"]) for error in response.json()["errors"]]


async def test_all_errors_of_a_body_and_its_header_are_listed_at_once(api: ApiHarness) -> None:
    """Known fields in their order, repeated names, unknown names, then the header."""
    body = (
        '{"account": 12, "locale": "en_GB", "client_ip": "203.0.113.9:80", "purpose": "Login",'
        ' "colour": {"a": [{"b": 1, "b": 2}]}, "colour": 1, "phone": 1}'
    )

    errors = await list_errors(api, CHALLENGES, body, **{"Idempotency-Key": "a b"})

    assert [
        ("phone_number", "is missing"),
        ("purpose", PURPOSE_RULE),
        ("locale", LOCALE_RULE),
        ("client_ip", ADDRESS_RULE),
        ("account", "must be text, not a number"),
        ("colour", REPEATED),
        ("colour", UNKNOWN),
        ("phone", UNKNOWN),
        ("Idempotency-Key", KEY_RULE),
    ] == errors


@pytest.mark.parametrize(
    ("path", "key", "body", "expected"),
    [
        (
            f"{CHALLENGES}/{CHALLENGE_ID}/verify",
            "shop",
            {"client_ip": "x", "account": None, "locale": "en"},
            [("code", "is missing"), ("client_ip", ADDRESS_RULE), ("locale", UNKNOWN)],
        ),
        (
            f"{CHALLENGES}/{CHALLENGE_ID}/resend",
            "shop",
            {"a": 1, "b": 2},
            [("a", UNKNOWN), ("b", UNKNOWN)],
        ),
        (
            "/v1/authenticators",
            "shop",
            {"account": "", "name": "a:b", "secret": "GEZDGNBV"},
            [
                ("account", ACCOUNT_RULE),
                ("name", "must not contain a colon: it separates issuer and name in the app"),
                ("secret", "must have at least 128 bits, and has 40"),
            ],
        ),
        (
            "/v1/authenticators",
            "shop",
            {"account": "a:b", "secret": "GEZDGNBV"},
            [
                ("secret", "must have at least 128 bits, and has 40"),
                (
                    "name",
                    (
                        "is missing, and the account cannot take its place: it must not contain a colon: it"
                        " separates issuer and name in the app"
                    ),
                ),
            ],
        ),
        (
            "/v1/authenticators/confirm",
            "shop",
            {"authenticator": 1},
            [
                ("authenticator", "must be text, not a number"),
                ("account", "is missing"),
                ("code", "is missing"),
            ],
        ),
        (
            "/v1/authenticators/verify",
            "shop",
            {"purpose": True, "client_ip": []},
            [
                ("authenticator", "is missing"),
                ("account", "is missing"),
                ("code", "is missing"),
                ("purpose", "must be text, not true or false"),
                ("client_ip", "must be text, not an array"),
            ],
        ),
        ("/v1/recovery-codes", "shop", {"user": 1}, [("account", "is missing"), ("user", UNKNOWN)]),
        (
            "/v1/recovery-codes/verify",
            "shop",
            {"recovery_set": None, "account": "a", "client_ip": ""},
            [
                ("recovery_set", "must be text, not null"),
                ("code", "is missing"),
                ("client_ip", ADDRESS_RULE),
            ],
        ),
        (
            "/v1/numbers/unlock",
            "operator",
            {"number": 1},
            [("phone_number", "is missing"), ("number", UNKNOWN)],
        ),
        (
            "/v1/accounts/unlock",
            "operator",
            {"tenant": "Shop"},
            [
                ("account", "is missing"),
                ("tenant", "must be the name of a tenant: lower-case letters, digits and hyphens"),
            ],
        ),
        (
            "/v1/audit/search",
            "shop-audit",
            {"since": "yesterday", "limit": 1001, "challenge": "c1", "type": ["otp.sent"]},
            [
                ("since", "must be a time with its zone, like 2026-11-22T00:00:00Z"),
                ("type", "must be text, not an array"),
                ("challenge", "must be the `id` of a challenge or a delivery"),
                ("limit", "must be a whole number from 1 to 1000"),
            ],
        ),
    ],
)
async def test_each_endpoint_lists_all_errors(api: ApiHarness, path, key, body, expected) -> None:
    """R58, and one round trip for the developer instead of one for each mistake."""
    assert expected == await list_errors(api, path, body, key=key)


@pytest.mark.parametrize("limit", ["abc", "0", "1001", "1.5", "1e2", "+1", " 1", "", "9" * 400])
async def test_a_query_lists_all_errors_too(api: ApiHarness, limit) -> None:
    """Its values are text, of which a number is made."""
    response = await api.call_public(
        "GET",
        f"/v1/audit/events?limit={limit.replace('+', '%2B').replace(' ', '%20')}&since=1&a=1&a=2",
        key="shop-audit",
    )

    assert 400 == response.status_code
    assert [
        ("since", "must be a time with its zone, like 2026-11-22T00:00:00Z"),
        ("limit", "must be a whole number from 1 to 1000"),
        ("a", REPEATED),
        ("a", UNKNOWN),
    ] == [(error["path"], error["message"]) for error in response.json()["errors"]]


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("account", "is required by this tenant's setting `requires`: the limits need it"),
        ("client_ip", "is required by this tenant's setting `requires`: the limits need it"),
    ],
)
async def test_what_the_tenant_requires_is_listed_with_the_other_errors(member, message) -> None:
    """Before 404, as every 400."""
    requires = frozenset({"account", "client_ip"})
    api = ApiHarness(tenants={"shop": Tenant("shop", "Shop", frozenset(), requires=requires)})

    errors = await list_errors(api, f"{CHALLENGES}/nothing/verify", {"a": 1})

    assert ("code", "is missing") in errors
    assert (member, message) in errors
    assert ("a", UNKNOWN) in errors


@pytest.mark.parametrize("known", [True, False, "yes"])
async def test_only_a_trusted_tenant_says_whether_a_number_is_known(known) -> None:
    """The message names the setting, and is listed with the other errors. Null counts as missing."""
    api = ApiHarness()
    untrusted = (
        "is only for a tenant with the setting `trust_known = true`: leave it out, or set that"
    )
    no_truth = [("known", "must be true or false")] if known == "yes" else []

    errors = await list_errors(api, CHALLENGES, {"known": known, "bot_check": "maybe", "a": 1})

    assert [
        ("phone_number", "is missing"),
        *no_truth,
        ("bot_check", "must be one of passed, failed, none"),
        ("a", UNKNOWN),
        ("known", untrusted),
    ] == errors
    body = {"phone_number": "+447400123456", "known": None, "bot_check": None}
    assert 201 == (await api.call_public("POST", CHALLENGES, json=body)).status_code


async def test_a_trusted_tenant_may_say_that_a_number_is_known() -> None:
    api = ApiHarness(tenants={"shop": Tenant("shop", "Shop", frozenset(), trusts_known=True)})
    body = {"phone_number": "+447400123456", "known": True, "bot_check": "failed"}

    response = await api.call_public("POST", CHALLENGES, json=body)

    assert 201 == response.status_code
    request = api.service.calls[0][2]
    assert request.known is True
    assert request.bot_check is BotCheck.FAILED


async def test_what_a_tenant_requires_of_logins_is_no_filter_that_its_searches_need() -> None:
    """`client_ip` and `account` are members of a search, too."""
    requires = frozenset({"account", "client_ip"})
    api = ApiHarness(tenants={"shop": Tenant("shop", "Shop", frozenset(), requires=requires)})

    found = await api.call_public("POST", "/v1/audit/search", json={}, key="shop-audit")
    listed = await api.call_public("GET", "/v1/audit/events", key="shop-audit")

    assert [200, 200] == [found.status_code, listed.status_code]


async def test_a_repeated_code_is_refused_whatever_its_type_is(api: ApiHarness) -> None:
    """R58: a code that is not text counts as malformed, and must not hide that there are two."""
    path = f"{CHALLENGES}/{CHALLENGE_ID}/verify"

    for body in ('{"code": 1, "code": 2}', '{"code": "1", "code": null}'):
        assert [("code", REPEATED)] == await list_errors(api, path, body)


async def test_a_thousand_unknown_fields_give_a_short_answer(api: ApiHarness) -> None:
    """An attacker with a key gets twenty errors, whatever a body contains; known fields are first."""
    letters = str.maketrans("0123456789", "ghijklmnop")
    many = {f"f{i:x}".translate(letters): 0 for i in range(1400)}
    for body in (many, dict.fromkeys(map(str, range(1400)), 0), {"a": [many]}):
        errors = await list_errors(api, CHALLENGES, body)

        assert ("phone_number", "is missing") == errors[0]
        assert len(errors) <= MAX_LISTED_ERRORS + 1
        assert sum(len(path) + len(message) for path, message in errors) < 2000
    errors = await list_errors(api, CHALLENGES, many)
    assert ("", "the other errors (1381) are not listed") == errors[-1]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ('{"a":{"b":{"c":{"d":1,"d":2}}}}', "a.b.c.d"),
        ('{"a":{"b":{"c":{"d":{"e":1,"e":2}}}}}', ""),
        ('{"a":[[[{"b":1,"b":2}]]]}', "a.b"),
        ('{"a":' * 900 + '{"b":1,"b":2}' + "}" * 900, ""),
        ('{"a":[' + '{"b":1,"b":2},' * 1000 + "1]}", "a.b"),
    ],
)
async def test_a_repeated_name_has_its_path_while_that_is_short(
    api: ApiHarness, body, path
) -> None:
    """R58: a thousand nested objects do not make a path of a thousand names, each a new one."""
    errors = await list_errors(api, CHALLENGES, body)

    assert [("phone_number", "is missing"), (path, REPEATED), ("a", UNKNOWN)] == errors


async def test_a_path_repeats_no_name_that_could_be_a_value(api: ApiHarness) -> None:
    """R68: at any depth."""
    body = '{"phone_number": {"+447400123456": {"b": 1, "b": 2}}, "447400123456": {"c": 1, "c": 2}}'

    errors = await list_errors(api, CHALLENGES, body)

    assert [
        ("phone_number", "must be text, not an object"),
        ("", REPEATED),
        ("", UNKNOWN),
    ] == errors


@pytest.mark.parametrize(
    "name",
    [
        "tel447400123456",
        "code493817",
        "c123",
        "k_3kTq9ZrVw0",
        "JBSWY3DPEHPK3PXP",
        "x" * 41,
        "a.b",
        "",
    ],
)
async def test_a_name_with_the_digits_of_a_value_is_not_repeated(api: ApiHarness, name) -> None:
    """R68: also behind a letter. Seen to fail with a rule for the first character alone."""
    errors = await list_errors(api, CHALLENGES, {name: 1})

    assert [("phone_number", "is missing"), ("", UNKNOWN)] == errors
    assert ("field_2", UNKNOWN) in await list_errors(api, CHALLENGES, {"field_2": 1})


@pytest.mark.parametrize(
    "kind", [*REQUEST_KINDS.values(), AuditQuery], ids=lambda kind: kind.__name__
)
def test_each_field_has_a_rule_in_plain_words(kind) -> None:
    """A pattern or the name of a type says nothing to a reader."""
    for name, rule in list_rules(kind).items():
        assert rule.rule.startswith("must be "), name
        has_pattern = ", pattern='^" in repr(inspect.type_info(rule.kind))
        assert not (has_pattern and rule.rule == "must be text"), name
        assert not any(word in rule.rule.replace("`id`", "") for word in JARGON), rule.rule
