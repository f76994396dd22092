"""The fields of the search form, and the query that they become."""

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec.structs import asdict

from otp_service.api.audit_ui import search_period
from otp_service.api.audit_ui.filter_fields import is_client_ip, is_pseudonym
from otp_service.api.audit_ui.searched_person import (
    MAX_REASON_CHARS,
    SearchedPerson,
    parse_account,
    parse_phone_number,
    require_reason,
)
from otp_service.audit.query.reader import EventQuery
from otp_service.core.challenge import parse_partition
from otp_service.core.errors import InvalidRequest
from otp_service.core.events import EVENT_TYPES


EVENT_TYPE_NAMES: Final = tuple(sorted(EVENT_TYPES))

PLAIN_FILTERS: Final = (
    *("type", "event_reason", "event_limit", "challenge", "pseudonym", "provider", "client_ip"),
)
"""Fields of the form that are filters as they are; empty ones are left out."""

CLIENT_IP_CHANGES: Final = {"": None, "1": True, "0": False}
"""The filter of each value of `client_ip_changed`."""


class SearchForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of the form as they were sent; empty ones are left out.

    Every filter has the name of its member of `EventCriteria`.
    """

    number: str = ""
    account: str = ""
    reason: str = ""
    challenge: str = ""
    pseudonym: str = ""
    client_ip: str = ""
    client_ip_changed: Literal["", "0", "1"] = ""
    type: str = ""
    event_reason: str = ""
    event_limit: str = ""
    country: str = ""
    provider: str = ""
    tenant: str = ""
    hours: str = "24"
    since: str = ""
    until: str = ""
    cursor: str = ""

    @property
    def is_challenge_alone(self) -> bool:
        """Whether only a challenge is given, which has a page of its own."""
        fields = asdict(self)
        others = fields.keys() - {"challenge", "reason", "hours", "since", "until", "cursor"}
        return parse_partition(self.challenge) is not None and not any(map(fields.get, others))

    def forget_person(self) -> "SearchForm":
        """Return the form without the number and the account."""
        return msgspec.structs.replace(self, number="", account="")

    @property
    def filters(self) -> dict[str, str]:
        """The fields of a form that does the same search again; empty hours have a meaning."""
        fields = asdict(self).items()
        return {
            name: text for name, text in fields if name == "hours" or (text and name != "cursor")
        }


class SearchRequest(NamedTuple):
    """What a valid form asks for."""

    person: SearchedPerson
    query: EventQuery


def parse_search_form(fields: dict[str, str]) -> SearchForm:
    """Return the form of these fields. Raises InvalidRequest if our form cannot have sent them."""
    try:
        form = msgspec.convert({name: text.strip() for name, text in fields.items()}, SearchForm)
    except msgspec.ValidationError:
        raise InvalidRequest(("", "must be the form of the search")) from None
    if form.hours not in search_period.PERIOD_LABELS or len(form.reason) > MAX_REASON_CHARS:
        raise InvalidRequest(("", "must be the form of the search"))
    return form


def parse_search(form: SearchForm, visible_tenant: str | None, now: int) -> SearchRequest:
    """Return the search, limited to `visible_tenant` if there is one.

    `now` is in milliseconds since 1970. Raises InvalidRequest with all invalid fields.
    """
    collector = _ErrorCollector()
    phone = collector.run(parse_phone_number, form.number)
    person = SearchedPerson(phone, collector.run(parse_account, form.account))
    if form.number or form.account:
        collector.run(require_reason, form.reason, person)
    period = collector.run(search_period.parse_period, form.hours, form.since, form.until, now)
    collector.errors += _find_invalid_filters(form)
    if collector.errors:
        raise InvalidRequest(*collector.errors)
    filters: dict[str, Any] = {name: getattr(form, name) or None for name in PLAIN_FILTERS}
    tenant = visible_tenant if visible_tenant is not None else form.tenant or None
    filters |= {"country": form.country.upper() or None, "tenant": tenant}
    filters |= {"client_ip_changed": CLIENT_IP_CHANGES[form.client_ip_changed]}
    query: Any = filters | (period or {}) | {"number": phone, "account": person.account}
    return SearchRequest(person, query)


class _ErrorCollector:
    """Runs the parsers of all fields, so that one reply names every invalid field."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, str]] = []

    def run(self, parse: Any, *values: Any) -> Any:
        """Return what the parser returns, or None if it raises InvalidRequest."""
        try:
            return parse(*values)
        except InvalidRequest as error:
            self.errors += error.errors
            return None


def _find_invalid_filters(form: SearchForm) -> Iterator[tuple[str, str]]:
    if form.challenge and parse_partition(form.challenge) is None:
        yield "challenge", "This is not the id of a challenge."
    if form.pseudonym and not is_pseudonym(form.pseudonym):
        yield "pseudonym", "This is not a pseudonym like 1:7d793037a0760186574b0282f2f435e7."
    if form.client_ip and not is_client_ip(form.client_ip):
        yield "client_ip", "This is not a client IP like 203.0.113.9 or 2001:db8::/64."
