"""The limits of a country count its sends of all tenants, and those of a tenant."""

import pytest

from tests.simulation.history import Refused
from tests.simulation.history_builder import HistoryBuilder


GERMANY = ("+4915112345671", "+4915198765432", "+4917612345673")
BRITAIN = "+447400123456"
LIMITS = {"SendsPerCountry": ((2, 3600),), "SendsPerCountryAndTenant": ((1, 3600),)}


@pytest.fixture
def history():
    return HistoryBuilder(LIMITS)


def issue(history, number, tenant="shop"):
    history.issue(f"47110{len(history.calls):05d}", number=number, tenant=tenant)


def test_sends_to_several_countries_are_within_their_limits(history):
    issue(history, GERMANY[0])
    issue(history, BRITAIN)
    issue(history, GERMANY[1], tenant="bank")

    assert [] == history.list_rules()


def test_a_second_send_of_a_tenant_to_a_country_is_found(history):
    issue(history, GERMANY[0])
    issue(history, GERMANY[1])

    assert ["SendsPerCountryAndTenant admitted more than its budget"] == history.list_rules()


def test_a_third_send_to_a_country_over_all_tenants_is_found(history):
    for number, tenant in zip(GERMANY, ("shop", "bank", "bank"), strict=True):
        issue(history, number, tenant)

    assert "SendsPerCountry admitted more than its budget" in history.list_rules()


@pytest.mark.parametrize(("numbers", "is_founded"), [(GERMANY[:2], True), (GERMANY[:1], False)])
def test_a_country_refuses_only_once_it_is_spent(history, numbers, is_founded):
    for number, tenant in zip(numbers, ("shop", "bank"), strict=False):
        issue(history, number, tenant)
    issue(history, BRITAIN)
    refusal = Refused("rate-limited", limit="SendsPerCountry", retry_after=3600)
    history.call("issue", refusal, phone_number=GERMANY[2])

    rule = "SendsPerCountry refused although its budget cannot be spent"
    assert is_founded == (rule not in history.list_rules())
