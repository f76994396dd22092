"""R75: the archive as OCSF and ECS, validated against their published schemas."""

import copy
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from otp_service.audit.archive_format.entries import Gap, encode_entry, encode_gap
from otp_service.audit.archive_format.seals import Seal, SigningKey
from otp_service.audit.exports import EXPORT_FORMATS, ExportSelection, export_line
from otp_service.audit.exports.taxonomy import TAXONOMY_ENTRIES
from otp_service.audit.query.filters import EventFilter
from otp_service.core.events import EVENT_TYPES, DeliveryUpdated, Sent
from otp_service.core.timestamps import format_rfc3339
from tests.audit.archive_lines import (
    EVENT_TIME_MS,
    build_entry,
    build_full_event,
    build_full_stamp,
    build_line,
)
from tests.audit.exports.schema_validator import find_ecs_errors, find_ocsf_errors
from tests.audit.scenario import ScenarioStep


FAULTS: dict[str, Callable[[Any], list[str]]] = {"ocsf": find_ocsf_errors, "ecs": find_ecs_errors}

FORMS = pytest.mark.parametrize("form", EXPORT_FORMATS)
EVERY = pytest.mark.parametrize(
    ("kind", "reason"), [key for key in TAXONOMY_ENTRIES if key[0] in EVENT_TYPES]
)
HOSTILE = 'x\r\n{"type":"otp.verified"}\u2028\x85\u202e\x1b[31m\x00'


def export(told: bytes, form: str) -> Any:
    """Return a line in another format, as tools read it."""
    text = export_line(told, EXPORT_FORMATS[form])
    assert text is not None
    return json.loads(text)


@FORMS
def test_everything_that_a_run_tells_is_valid(
    scenario_steps: list[ScenarioStep], form: str
) -> None:
    """Every event of the scenario, as it was written by workers and by Redis."""
    for step in scenario_steps:
        for entry in step.entries:
            event = export(encode_entry(entry, has_valid_mac=True), form)
            assert [] == FAULTS[form](event), (step.title, event)


@FORMS
@EVERY
def test_every_meaning_is_valid_and_nothing_is_left_out(kind: str, reason: str, form: str) -> None:
    """Also with every field set, and a stamp of Redis's above them."""
    event = build_full_event(kind, reason=reason or "why")
    stamp = build_full_stamp(reason=reason or "why") if "limit" in event.__struct_fields__ else b""

    told = export(build_line(event, stamp=stamp), form)

    assert [] == FAULTS[form](told)
    said = json.dumps(told)
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if stamp and name in {"limit", "quota", "period", "unverified", "allowance"}:
            continue  # the stamp says otherwise, and it knows better
        assert _shown(value) in said, name
    for name, value in json.loads(stamp or "{}").items():
        is_instant = form == "ecs" and name in {"first", "last"}
        assert (format_rfc3339(value) if is_instant else _shown(value)) in said, name


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return str(value["config"])
    return "" if isinstance(value, bool) or value == "failure" else str(value)


@pytest.mark.parametrize(
    ("kind", "reason", "ocsf", "status", "ecs", "owasp"),
    [
        ("otp.issued", None, (3002, 6), 1, "authentication start", "authn_token_created"),
        (
            "otp.issue_denied",
            "rate_limited",
            (3002, 6),
            2,
            "authentication info",
            "excess_rate_limit_exceeded",
        ),
        ("otp.sent", None, (6003, 1), 1, "api info", None),
        ("otp.provider_failed", "down", (6003, 1), 2, "api info error", None),
        ("otp.delivery", None, (6003, 3), 1, "api info", None),
        ("otp.verified", None, (3002, 99), 1, "authentication end", "authn_login_success"),
        ("otp.rejected", "mismatch", (3002, 99), 2, "authentication end", "authn_login_fail"),
        ("otp.verify_denied", "replay", (3002, 99), 2, "authentication end", "authn_token_reuse"),
        (
            "otp.locked",
            "attempts_exhausted",
            (3002, 99),
            1,
            "authentication end",
            "authn_login_fail_max",
        ),
        ("otp.locked", "number_locked", (3001, 11), 1, "iam change", "authn_login_lock"),
        ("otp.unlocked", "by_operator", (3001, 12), 1, "authentication info", None),
        ("otp.issue_denied", "opted_out", (3002, 6), 2, "authentication info", None),
        ("delivery.denied", "opted_out", (6003, 1), 2, "api denied", None),
        ("number.opted_out", None, (3001, 5), 1, "iam change", None),
        ("number.opted_in", None, (3001, 2), 1, "iam change", None),
        ("number.help_requested", None, (6003, 99), 1, "api info", None),
        ("service.changed", "reload_refused", (6003, 99), 2, "configuration info", None),
        (
            "callback.rejected",
            "signature",
            (6003, 3),
            2,
            "api denied",
            "malicious_direct_reference",
        ),
    ],
)
def test_events_are_called_what_the_requirements_call_them(  # noqa: PLR0913, PLR0917  # a row
    kind: str, reason: str | None, ocsf: tuple[int, int], status: int, ecs: str, owasp: str | None
) -> None:
    """Section 3 of the requirements, row by row."""
    outcome = "failure" if status == 2 else "success"
    told = build_line(build_full_event(kind, reason=reason, outcome=outcome))

    one, other = export(told, "ocsf"), export(told, "ecs")

    assert (*ocsf, status) == (one["class_uid"], one["activity_id"], one["status_id"])
    assert ecs.split() == [*other["event"]["category"], *other["event"]["type"]]
    assert (kind, outcome) == (other["event"]["action"], other["event"]["outcome"])
    assert owasp == one["unmapped"].get("owasp") == other["labels"].get("owasp")


@pytest.mark.parametrize(
    "kind", ["number.opted_out", "number.opted_in", "number.help_requested", "delivery.reported"]
)
def test_what_a_provider_passes_on_comes_from_the_provider(kind: str) -> None:
    """The number is whom it is about, and our own number and the keyword are in both formats."""
    is_answer = kind.startswith("number.")
    answer = {"own_number": "13013", "keyword": "stop"} if is_answer else {}
    line = build_line(build_full_event(kind, provider="east", **answer))

    one, other = export(line, "ocsf"), export(line, "ecs")

    assert ("east", "east") == (one["src_endpoint"]["name"], other["service"]["target"]["name"])
    assert one.get("dst_endpoint", {}).get("name") in {None, "otp-service"}
    user = one["user"] if one["class_uid"] == 3001 else one["resources"][0]
    assert ("number-of-it", "number-of-it") == (user["uid"], other["user"]["hash"])
    assert answer.items() <= one["unmapped"].items()
    assert answer.items() <= other["labels"].items()


def test_the_chain_can_be_followed_in_both() -> None:
    """`audit prove` uses the same hash; the sequence shows that no event is missing."""
    told = build_line(build_full_event("otp.verified"))

    one, other = export(told, "ocsf"), export(told, "ecs")

    assert one["metadata"]["uid"] == other["event"]["id"] == f"07-{EVENT_TIME_MS - 1000}-42"
    assert 42 == one["unmapped"]["sequence"] == other["event"]["sequence"]
    assert one["unmapped"]["hash"] == other["event"]["hash"]
    assert (
        other["event"]["hash"]
        != export(build_line(build_full_event("otp.issued")), "ecs")["event"]["hash"]
    )
    assert ("number-of-it", "trace-of-it") == (other["user"]["hash"], other["trace"]["id"])


@FORMS
def test_what_is_not_ours_is_a_finding_and_no_success(form: str) -> None:
    """An attacker who can write to Redis can neither add a login to a SIEM nor end the export."""
    verified = build_full_event("otp.verified", outcome="success")
    for forged in (
        build_line(verified, is_ours=False),
        build_line(b'{"type":"otp.verified","id":7}'),
        build_line(b'{"type":"otp.verified","id":"e","versions":"none"}'),
        build_line(b"\xff\x00"),
        build_line(verified, stamp=b'{"limit":{"a":1}}'),
        b"not even a line",
        b'{"gap":{"partition":"x"}}',
    ):
        told = export(forged, form)

        assert [] == FAULTS[form](told)
        assert "log.unreadable" in told["message"]
        assert 2004 == told.get("class_uid", 2004)
        assert "alert" == told.get("event", {}).get("kind", "alert")


@FORMS
def test_a_gap_is_a_finding_and_a_seal_is_nothing(form: str) -> None:
    """A SIEM receives a finding that entries are missing, with their number."""
    key = SigningKey.generate()
    seal = Seal(number=1, at="", previous="", count=0, root="", runs=(), key=key.public.id, fence=1)

    told = export(encode_gap(Gap(7, EVENT_TIME_MS, 43, 50)), form)

    assert [] == FAULTS[form](told)
    assert "8" == str((told.get("unmapped") or told["labels"])["missing"])
    assert export_line(key.sign_seal(seal), EXPORT_FORMATS[form]) is None


@FORMS
def test_an_event_of_a_newer_version_is_told_as_far_as_it_is_understood(form: str) -> None:
    """An archive may be exported by an older program than the one that wrote it."""
    told = export(
        build_line(b'{"type":"otp.teleported","id":"e1","tenant":"shop","speed":9,"reason":"far"}'),
        form,
    )

    assert [] == FAULTS[form](told)
    assert "otp.teleported far" == told["message"]


@FORMS
def test_no_value_can_end_a_line_or_steer_a_terminal(form: str) -> None:
    """R70: line ends, bidi and control characters, in every field that is text.

    They are escaped in the event; otherwise the archive would not accept it as genuine.
    """
    hostile: dict[str, Any] = {
        "reason": HOSTILE,
        "number": HOSTILE,
        "account": HOSTILE,
        "trace": HOSTILE,
    }
    event = Sent(id="e", provider=HOSTILE, milliseconds=1, tenant=HOSTILE, **hostile)

    escaped = json.dumps(msgspec.json.decode(msgspec.json.encode(event))).encode()

    text = export_line(build_line(escaped), EXPORT_FORMATS[form])

    assert text
    assert HOSTILE in json.loads(text)["message"]
    assert text.isascii()
    assert text.isprintable()
    assert [] == FAULTS[form](json.loads(text))


def test_what_was_before_is_left_out_but_never_a_gap() -> None:
    """A gap has no time of its own, so the time filter keeps it."""
    gap, event = (
        encode_gap(Gap(7, EVENT_TIME_MS, 43, 50)),
        build_line(build_full_event("otp.issued")),
    )
    write = EXPORT_FORMATS["ecs"]

    assert export_line(event, write, ExportSelection(since=EVENT_TIME_MS))
    assert export_line(event, write, ExportSelection(since=EVENT_TIME_MS + 1)) is None
    assert export_line(event, write, ExportSelection(until=EVENT_TIME_MS + 1))
    assert export_line(event, write, ExportSelection(until=EVENT_TIME_MS)) is None
    assert export_line(gap, write, ExportSelection(since=EVENT_TIME_MS + 1))


@FORMS
def test_a_filter_selects_events_and_leaves_out_no_gap(form: str) -> None:
    """An event that is missing may be one of those that are asked for; a forged one is as it claims."""
    write = EXPORT_FORMATS[form]
    rejected = ExportSelection(event_filter=EventFilter(type="otp.rejected"))
    forged = build_line(build_full_event("otp.rejected"), is_ours=False)
    gap = encode_gap(Gap(7, 5, 1, 2))

    assert export_line(build_line(build_full_event("otp.rejected")), write, rejected)
    assert export_line(build_line(build_full_event("otp.verified")), write, rejected) is None
    assert [1, 1, 1] == [bool(export_line(x, write, rejected)) for x in (forged, gap, b"torn")]


BROKEN: dict[str, list[tuple[tuple[str, ...], Any]]] = {
    "ocsf": [
        (("class_uid",), 1234),
        (("activity_id",), 50),
        (("activity_id",), "3"),
        (("time",), None),
        (("unheard_of",), 1),
        (("severity",), "Low"),
        (("metadata", "product"), {}),
        (("metadata", "profiles"), ["unheard-of"]),
        (("metadata", "profiles"), "host"),
        (("metadata", "uid"), 7),
        (("trace", "uid"), ""),
        (("src_endpoint",), {"ip": "203.0.113.9"}),
        (("src_endpoint", "ip"), "not-an-address"),
        (("actor",), {}),
        (("cloud",), {"provider": "x"}),
    ],
    "ecs": [
        (("@timestamp",), "yesterday"),
        (("event", "sequence"), "42"),
        (("event", "unheard_of"), "x"),
        (("event", "category"), "api"),
        (("event", "category"), ["sms"]),
        (("event", "type"), ["start-of-it"]),
        (("event", "kind"), "sms"),
        (("event", "outcome"), "perhaps"),
        (("labels", "count"), 7),
        (("client", "ip"), 7.5),
        (("user", "hash"), ""),
    ],
}


@pytest.mark.parametrize(
    ("form", "path", "value"), [(f, *broken) for f, some in BROKEN.items() for broken in some]
)
def test_what_is_broken_is_seen(form: str, path: tuple[str, ...], value: Any) -> None:
    """The validation can fail: in each of its rules."""
    event = build_full_event("otp.delivery")
    assert isinstance(event, DeliveryUpdated)
    told = export(build_line(event), form)
    assert [] == FAULTS[form](told)
    broken = copy.deepcopy(told)
    *steps, last = path
    place = broken
    for step in steps:
        place = place[step]
    place[last] = value

    try:
        faults = FAULTS[form](broken)
    except ValueError:
        return
    assert faults, path


def test_an_entry_of_the_archive_is_what_is_exported() -> None:
    """The helper of these tests makes what the sealer makes."""
    entry = build_entry(build_full_event("otp.issued"))

    assert encode_entry(entry, has_valid_mac=True) == build_line(build_full_event("otp.issued"))
