"""Verify Services: the settings of a tenant, as a list with pages; absolute URLs and whole seconds."""

import re
from typing import Any

from tests.api.twilio.sdk import (
    ACCOUNTS,
    BANK_SERVICE,
    PUBLIC_URL,
    SHOP_SERVICE,
    VerifyHarness,
)


async def test_pages_are_followed_to_the_end(verify: VerifyHarness) -> None:
    """The SDK follows `next_page_url` with its credentials, so it is absolute and of the settings."""
    client = verify.create_client()

    listed = await client.verify.v2.services.list_async(page_size=2)

    assert [*ACCOUNTS["shop"].services] == [service.sid for service in listed]
    assert BANK_SERVICE not in {service.sid for service in listed}
    urls = client.http_client.urls
    assert 2 == len(urls)
    assert f"{PUBLIC_URL}/twilio/v2/Services?PageSize=2&Page=1" == urls[1]


async def test_a_limit_ends_the_list(verify: VerifyHarness) -> None:
    """`limit` of the SDK asks for one page of that size."""
    listed = await verify.create_client().verify.v2.services.list_async(limit=1)

    assert [SHOP_SERVICE] == [service.sid for service in listed]


async def test_urls_are_those_of_the_settings_and_not_of_the_host_header(
    verify: VerifyHarness,
) -> None:
    """A client that was called under another name would send its key there."""
    headers = {"Host": "attacker.example"}

    listed = await verify.send_form("/Services?PageSize=1", None, headers=headers)
    one = await verify.send_form(f"/Services/{SHOP_SERVICE}", None, headers=headers)

    assert "attacker" not in listed.text + one.text
    assert 200 == listed.status_code == one.status_code
    assert {True} == {
        url.startswith(f"{PUBLIC_URL}/twilio/v2/") for url in _find_urls(listed.json())
    }


async def test_a_page_has_its_neighbours(verify: VerifyHarness) -> None:
    """Of the first, a middle and the last page, and of one behind the end."""
    pages = [
        (await verify.send_form(f"/Services?PageSize=1&Page={page}", None)).json()
        for page in (0, 1, 2, 7)
    ]

    neighbours = [
        (bool(page["meta"]["previous_page_url"]), bool(page["meta"]["next_page_url"]))
        for page in pages
    ]
    assert [(False, True), (True, True), (True, False), (True, False)] == neighbours
    assert [1, 1, 1, 0] == [len(page["services"]) for page in pages]
    assert {"services"} == {page["meta"]["key"] for page in pages}


async def test_a_page_size_has_bounds(verify: VerifyHarness) -> None:
    """As at Twilio: at most a thousand."""
    answers = [
        await verify.send_form(f"/Services?{query}", None)
        for query in ("PageSize=0", "PageSize=1001", "PageSize=a", "Page=-1", f"Page={'9' * 99}")
    ]
    largest = await verify.send_form("/Services?PageSize=1000", None)

    assert {(400, 60200)} == {(answer.status_code, answer.json()["code"]) for answer in answers}
    assert 3 == len(largest.json()["services"])


async def test_a_service_is_fetched(verify: VerifyHarness) -> None:
    """Every member of Twilio's is present, so that no attribute of the SDK is a surprise."""
    service = await verify.get_service().fetch_async()

    assert (SHOP_SERVICE, ACCOUNTS["shop"].sid) == (service.sid, service.account_sid)
    assert ("shop 0", 6, False) == (
        service.friendly_name,
        service.code_length,
        service.custom_code_enabled,
    )
    assert f"{PUBLIC_URL}/twilio/v2/Services/{SHOP_SERVICE}" == service.url


async def test_instants_have_whole_seconds(verify: VerifyHarness) -> None:
    """With milliseconds the attribute of Twilio's client for Python is a text, without an error."""
    await verify.start()

    sent = await verify.send_form(
        f"/Services/{SHOP_SERVICE}/VerificationCheck", "Code=000000&To=%2B447400100200"
    )

    instants = [sent.json()[name] for name in ("date_created", "date_updated")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", instant) for instant in instants)


async def test_head_is_answered_wherever_get_is(verify: VerifyHarness) -> None:
    """As everywhere in this service."""
    started = await verify.start()
    paths = (
        "/Services",
        f"/Services/{SHOP_SERVICE}",
        f"/Services/{SHOP_SERVICE}/Verifications/{started.sid}",
    )

    answers = [await verify.send_form(path, None, method="HEAD") for path in paths]

    assert {(200, b"")} == {(answer.status_code, answer.content) for answer in answers}
    assert {"no-store"} == {answer.headers["cache-control"] for answer in answers}


def _find_urls(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [url for each in value.values() for url in _find_urls(each)]
    if isinstance(value, list):
        return [url for each in value for url in _find_urls(each)]
    return [value] if isinstance(value, str) and value.startswith("http") else []
