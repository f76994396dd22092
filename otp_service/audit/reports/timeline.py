"""One challenge's story, from its events, for somebody on call.

Challenge c07-5d41…c592 of shop, for login, to GB …56, issued 2026-11-24 09:30:00.123 UTC.

  +0.000 s  issued                by key web, for 203.0.113.9
  +0.312 s  sent                  east took message 1, in 312 ms
 +14.207 s  verified

Verified 14.2 s after it was issued, at the first attempt.
"""

from collections.abc import Callable, Mapping, Sequence

from otp_service.audit.reports.event_record import Told, plain
from otp_service.core.log_entry import rfc3339


LONGEST_LIFE = 600_000
"""Milliseconds that a code can be valid for, at most."""


def story(told: Sequence[Told], now: int) -> list[str]:
    """Return the lines of what happened to one challenge, oldest first; `now` is in milliseconds.

    The events are all that there are of it, in their order, at least one.
    """
    first = told[0]
    lines = [_line(one, first.at) for one in told]
    return [_head(first), "", *lines, "", _verdict(told, now)]


def _head(first: Told) -> str:
    where = f"{plain(first.country or 'somewhere')} …{plain(first.tail or '?')}"
    begun = "issued" if first.type == "otp.issued" else "first heard of"
    at = rfc3339(first.at).replace("T", " ").replace("Z", " UTC")
    return (
        f"Challenge {plain(first.challenge)} of {plain(first.tenant or 'nobody')}, for "
        f"{plain(first.purpose or 'no purpose')}, to {where}, {begun} {at}."
    )


def _line(told: Told, begin: int) -> str:
    what = told.type.removeprefix("otp.").replace("_", " ")
    details = (_DETAILS.get(told.type, _why)(told), _times(told))
    said = ", ".join(filter(None, details))
    return f"{_elapsed(told.at - begin):>12}  {plain(what):<16}  {said}".rstrip()


def _issued(told: Told) -> str:
    by = f"by key {plain(told.key_id)}" if told.key_id else ""
    person = f"for {plain(told.client_address)}" if told.client_address else ""
    return ", ".join(filter(None, (by, person)))


def _resent(told: Told) -> str:
    why = f", because {plain(told.reason)}" if told.reason else ""
    return f"send {told.send}{why}"


def _sent(told: Told) -> str:
    took = "took it" if told.outcome == "success" else "may have taken it"
    why = f": {plain(told.reason)}" if told.reason else ""
    return f"{plain(told.provider)} {took} in {told.milliseconds} ms{why}"


def _failed(told: Told) -> str:
    return f"{plain(told.provider)} did not take it, in {told.milliseconds} ms: {_why(told)}"


def _delivery(told: Told) -> str:
    believed = "" if told.trusted else " (not signed, so advisory)"
    why = f": {plain(told.reason)}" if told.reason else ""
    return f"{plain(told.provider)} says of send {told.send}: {plain(told.status)}{why}{believed}"


def _superseded(told: Told) -> str:
    return f"the code of send {told.send} is no longer valid"


def _left(told: Told) -> str:
    left = f"{told.attempts_left} attempt{'s' * (told.attempts_left != 1)} left"
    return f"{_why(told)}, {left}" if told.reason else left


def _why(told: Told) -> str:
    why = plain(told.reason or "")
    if told.limit:
        why += f" ({plain(told.limit)}: {told.quota} in {told.period} s)"
    return why


def _times(told: Told) -> str:
    return f"{told.folded} times" if told.folded > 1 else ""


_DETAILS: Mapping[str, Callable[[Told], str]] = {
    "otp.issued": _issued,
    "otp.resent": _resent,
    "otp.sent": _sent,
    "otp.provider_failed": _failed,
    "otp.delivery": _delivery,
    "otp.superseded": _superseded,
    "otp.attempted": _left,
    "otp.rejected": _left,
}


# ----------------------------------------------------------------------------------- the verdict


def _verdict(told: Sequence[Told], now: int) -> str:
    """Return how it ended, in a sentence."""
    begin = told[0].at
    ends = {one.type: one for one in told if one.type in {"otp.verified", "otp.canceled"}}
    if verified := ends.get("otp.verified"):
        tries = sum(one.type == "otp.attempted" for one in told)
        at = "the first attempt" if tries == 1 else f"attempt {tries}"
        took = [one.provider for one in told if one.type == "otp.sent"]
        through = f"; the last message went through {plain(took[-1])}" if took else ""
        after = _elapsed(verified.at - begin)[1:]
        return f"Verified {after} after it was issued, at {at}{through}."
    if canceled := ends.get("otp.canceled"):
        return (
            f"Canceled {_elapsed(canceled.at - begin)[1:]} after it was issued: {_why(canceled)}."
        )
    if any(one.type == "otp.locked" and one.reason == "attempts_exhausted" for one in told):
        return f"Locked: {_wrong(told)}, and no attempt is left."
    return f"{_open(told, now)}: {_wrong(told)}.{_by(told)}"


def _open(told: Sequence[Told], now: int) -> str:
    denied = {one.reason for one in told if one.type == "otp.verify_denied"}
    if "expired" in denied or now - told[0].at > LONGEST_LIFE:
        return "Expired, and was never verified"
    if "number_locked" in denied:
        return "Not verified, because the number is locked"
    return "Not verified until now, and may still be"


def _wrong(told: Sequence[Told]) -> str:
    wrong = sum(one.type == "otp.rejected" for one in told)
    return {0: "no code was tried", 1: "one code was wrong"}.get(wrong, f"{wrong} codes were wrong")


def _by(told: Sequence[Told]) -> str:
    """Return who carried it, as far as that is known."""
    arrived = [one for one in told if one.type == "otp.delivery" and one.status == "delivered"]
    took = [one for one in told if one.type == "otp.sent"]
    if arrived:
        return f" {plain(arrived[-1].provider)} says that its message has arrived."
    if took:
        return f" The last message went to {plain(took[-1].provider)}, which has confirmed nothing."
    return " No provider took a message."


def _elapsed(milliseconds: int) -> str:
    return f"{milliseconds / 1000:+,.3f} s"
