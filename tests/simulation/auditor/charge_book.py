"""The auditor's own books: what each limit was charged for each subject, as seen from outside.

The limits, their subjects and their algorithms are those of the table in docs/limits.md. A send is
charged before its first provider is asked, and each further message that may have been billed is
charged too. A failure is a charged attempt whose code was wrong; a right code takes its charges back.
"""

import math
from collections.abc import Iterable, Sequence

from tests.simulation.auditor.budget import PossibleSpend, Spend
from tests.simulation.auditor.comparisons import is_store_denial
from tests.simulation.auditor.index import (
    AUTOMATIC_KINDS,
    ChallengeFacts,
    HistoryIndex,
    read_code,
    read_text,
)
from tests.simulation.auditor.limit_subjects import (
    FAILURE_LIMITS,
    FAILURE_REASONS,
    MAX_REFUNDS_OF_FAILED_SENDS,
    SENDING_KINDS,
    Subject,
    list_failure_subjects,
    list_send_subjects,
)
from tests.simulation.history import (
    Answered,
    CallRecord,
    Canceled,
    Crashed,
    Refused,
    SubmissionRecord,
    Unavailable,
)


LimitSubject = tuple[str, Subject]

UNSEEN_COMPARISONS = frozenset({"confirm_authenticator", "verify_authenticator"})


class ChargeBook:
    """What one limit was charged for one subject."""

    def __init__(self) -> None:
        self.spends: list[Spend] = []
        """Charges that certainly stay, and had to fit."""
        self.forced: list[Spend] = []
        """Charges that certainly stay, and did not have to fit."""
        self.possible: list[PossibleSpend] = []
        """All that may have been charged when another call was refused."""
        self.refusals: list[CallRecord] = []


class ChargeBooks(dict[tuple[str, Subject], ChargeBook]):
    """The books by limit and subject, of the limits that the history can say something about."""

    def __init__(self, index: HistoryIndex) -> None:
        super().__init__()
        calls = index.history.calls
        self.refusing_limits = {
            call.outcome.limit for call in calls if isinstance(call.outcome, Refused)
        }
        """The limits whose possible charges matter."""
        self.refusing_limits |= {budget.limit for budget in index.history.budgets}
        self.limits = set(self.refusing_limits)
        most = len(calls) + len(index.history.submissions)
        for rules in index.settings.tenants.values():
            for limit, windows in rules.limits.items():
                if any(count < most for count, _period in windows):
                    self.limits.add(limit)

    def __missing__(self, key: tuple[str, Subject]) -> ChargeBook:
        book = self[key] = ChargeBook()
        return book

    def select_keys(self, subjects: Iterable[LimitSubject]) -> list[LimitSubject]:
        """Return those of the limits and subjects that have books."""
        return [key for key in subjects if key[0] in self.limits]

    def add_possible(self, key: LimitSubject, spend: PossibleSpend) -> None:
        """Book what may have been charged."""
        if key[0] in self.refusing_limits:
            self[key].possible.append(spend)


def fill_books(index: HistoryIndex) -> ChargeBooks:
    """Return the books of a history."""
    books = ChargeBooks(index)
    failed_sends = _count_failed_sends(index)
    for call in index.history.calls:
        if call.kind in SENDING_KINDS:
            _book_send(index, call, books, failed_sends)
        elif call.kind == "create_recovery_codes":
            _book_creation(index, call, books)
        elif call.kind in FAILURE_LIMITS:
            _book_attempt(index, call, books)
    return books


def _count_failed_sends(index: HistoryIndex) -> dict[str, int]:
    """Return how often a number's message was taken by no provider."""
    counts: dict[str, int] = {}
    for facts in index.challenges.values():
        for submission in facts.submissions:
            if submission.answer == "refused":
                counts[facts.number] = counts.get(facts.number, 0) + 1
    return counts


def _book_send(
    index: HistoryIndex, call: CallRecord, books: ChargeBooks, failed_sends: dict[str, int]
) -> None:
    submissions = index.get_submissions(call)
    challenge = _find_challenge(index, call, submissions)
    subjects = books.select_keys(list_send_subjects(call, challenge))
    _book_refusal(call, books, subjects)
    if call.kind in AUTOMATIC_KINDS:
        _book_automatic_refusals(index, call, books, subjects)
    if submissions:
        is_refundable = failed_sends.get(submissions[0].number, 0) <= MAX_REFUNDS_OF_FAILED_SENDS
        _book_messages(index, call, books, subjects, is_refundable=is_refundable)
    elif not isinstance(call.outcome, Answered):
        end, release = _find_latest_end(index, call), _find_release(index, call)
        for key in subjects:
            books.add_possible(key, PossibleSpend(call.started_at, end, release, call.number))


def _book_automatic_refusals(
    index: HistoryIndex, call: CallRecord, books: ChargeBooks, subjects: Sequence[LimitSubject]
) -> None:
    """Book the sends after a receipt that were refused, which only their events show."""
    for event in index.events_by_request.get(call.request, ()):
        if str(event.members.get("type")).endswith("_denied"):
            deadline_ms = index.settings.call_deadline_ms
            start, end = event.at - deadline_ms, event.at + deadline_ms
            for key in subjects:
                books.add_possible(key, PossibleSpend(start, end, end, call.number))


def _book_messages(
    index: HistoryIndex,
    call: CallRecord,
    books: ChargeBooks,
    subjects: Sequence[LimitSubject],
    *,
    is_refundable: bool,
) -> None:
    """Book a call that gave a message to providers: it stays charged if one may have billed it."""
    submissions = index.get_submissions(call)
    billed = [s for s in submissions if s.answer != "refused"]
    is_kept = bool(billed) or any(s.fault == "recipient" for s in submissions)
    is_refunded = is_refundable and not is_kept
    release = index.disturbance.find_release(call) if is_refunded else math.inf
    # What follows a receipt is charged long after it was answered.
    end = max(_find_latest_end(index, call), submissions[-1].at)
    units = max(1, len(billed))
    spend = Spend(call.started_at, submissions[0].at, call.number)
    for key in subjects:
        book = books[key]
        if key[0] == "CooldownPerNumber":  # not refunded, and charged once
            book.spends.append(spend)
            latest = PossibleSpend(call.started_at, end, math.inf, call.number)
        else:
            if is_kept:
                book.spends.append(spend)
                book.forced.extend(_list_extra(call, billed))
            latest = PossibleSpend(call.started_at, end, release, call.number, units)
        books.add_possible(key, latest)


def _list_extra(call: CallRecord, billed: list[SubmissionRecord]) -> list[Spend]:
    """Return the charges beyond the first of a send, which are certain once its result was stored."""
    if not isinstance(call.outcome, Answered) or call.ended_at is None:
        return []
    return [Spend(s.at, call.ended_at, call.number) for s in billed[1:] if s.answer]


def _book_attempt(index: HistoryIndex, call: CallRecord, books: ChargeBooks) -> None:
    comparisons = index.get_comparisons(call)
    challenge = index.challenges.get(read_text(call, "challenge"))
    subjects = books.select_keys(list_failure_subjects(call, challenge))
    _book_refusal(call, books, subjects)
    outcome = call.outcome
    end = _find_latest_end(index, call)
    is_failure = isinstance(outcome, Refused) and outcome.reason in FAILURE_REASONS
    if comparisons and not isinstance(outcome, Answered | Refused):
        sent = challenge is not None and challenge.find_sends_of(read_code(call))
        is_failure = not sent and call.kind == "verify"
    known = min(end, comparisons[-1].at) if comparisons else end
    release = _find_release(index, call)
    if isinstance(outcome, Answered):
        release = index.disturbance.find_release(call)
    elif is_failure or comparisons or _may_have_compared_unseen(index, call):
        release = math.inf
    is_certain = is_failure and known < math.inf
    has_account = challenge is None or challenge.account == call.arguments.get("account")
    for key in subjects:
        if is_certain and (has_account or key[0] != "FailuresPerAccount"):
            books[key].spends.append(Spend(call.started_at, known, call.number))
        books.add_possible(key, PossibleSpend(call.started_at, end, release, call.number))


def _may_have_compared_unseen(index: HistoryIndex, call: CallRecord) -> bool:
    """Return whether a charged code of an app may have been compared, which no hasher sees.

    The charge stays then, also if the store has refused the success. Where it was reversed, an event says so.
    """
    if call.kind not in UNSEEN_COMPARISONS:
        return False
    events = [event.members for event in index.events_by_request.get(call.request, ())]
    is_charged = any(members.get("type") == "authenticator.attempted" for members in events)
    return is_charged and not any(map(is_store_denial, events))


def _book_creation(index: HistoryIndex, call: CallRecord, books: ChargeBooks) -> None:
    key = ("RecoverySetsPerAccount", (call.tenant, read_text(call, "account")))
    _book_refusal(call, books, [key])
    end, book = _find_latest_end(index, call), books[key]
    release = _find_release(index, call)
    if isinstance(call.outcome, Answered):
        book.spends.append(Spend(call.started_at, end, call.number))
        release = math.inf
    books.add_possible(key, PossibleSpend(call.started_at, end, release, call.number))


def _find_latest_end(index: HistoryIndex, call: CallRecord) -> float:
    """Return until when a call may have charged: the service goes on when its caller gives up."""
    if call.ended_at is None:
        return math.inf
    if isinstance(call.outcome, Canceled | Crashed):
        return call.ended_at + index.settings.call_deadline_ms
    return call.ended_at


def _book_refusal(call: CallRecord, books: ChargeBooks, subjects: Sequence[LimitSubject]) -> None:
    if isinstance(call.outcome, Refused) and call.outcome.limit is not None:
        keys = [key for key in subjects if key[0] == call.outcome.limit]
        if len(keys) == 1:
            books[keys[0]].refusals.append(call)


def _find_release(index: HistoryIndex, call: CallRecord) -> float:
    """Return when a call that sent and compared nothing has no charge; infinity if that is unknown."""
    if isinstance(call.outcome, Refused | Unavailable):
        return index.disturbance.find_release(call)
    return math.inf


def _find_challenge(
    index: HistoryIndex, call: CallRecord, submissions: Sequence[SubmissionRecord]
) -> ChallengeFacts | None:
    if submissions:
        return index.challenges.get(submissions[0].challenge)
    _tenant, _dot, reference = read_text(call, "reference").partition(".")
    return index.challenges.get(read_text(call, "challenge") or reference.partition(".")[0])
