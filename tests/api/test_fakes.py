"""The applications that tests call do not share what a test has set."""

from tests.api.fakes import ApiHarness


async def test_two_harnesses_share_no_service_and_record_their_own_requests():
    """Both have the same routes, which are built once."""
    first, second = ApiHarness(), ApiHarness()

    public = await first.call_public("GET", "/v1/challenges/c00-0123456789abcdef0123456789abcdef")
    admin = await first.get_admin("/status")

    assert (200, 200) == (public.status_code, admin.status_code)
    assert [] == second.service.calls
    assert [] == second.request_summaries
    assert ["view"] == [name for name, *_ in first.service.calls]
    assert 2 == len(first.request_summaries)
    assert first.public.state.api_keys is not second.public.state.api_keys
    assert first.admin.state.ui_dependencies is not second.admin.state.ui_dependencies
