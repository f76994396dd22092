"""A challenge as a state machine: whatever happens in whatever order, these things stay true."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from otp_service.core.challenge import (
    CHALLENGE_ID,
    ENDED_ERRORS,
    Challenge,
    ChallengeSecret,
    ChallengeStatus,
    LiveCode,
    VerifyReplayKey,
    build_challenge_id,
    parse_partition,
)
from otp_service.core.delivery import Accepted, Submission
from otp_service.core.errors import (
    ChallengeAlreadyVerified,
    ChallengeCanceled,
    ChallengeEnded,
    ChallengeExpired,
    ChallengeLocked,
    SendsExhausted,
)
from otp_service.core.policy import Policy


NOW = 1_763_814_000_123
SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
PATIENCE = 13 * SECOND
ANSWER = VerifyReplayKey(b"key", b"code")


def fresh(policy: Policy = Policy(), now: int = NOW) -> Challenge:  # noqa: B008  # it is frozen
    """Return a challenge as `issue` makes it."""
    return Challenge(
        tenant="shop",
        id=build_challenge_id(7, bytes(16)),
        version=1,
        purpose="login",
        account=None,
        masked_number="+44…56",
        number_pseudonym="1:00",
        country="GB",
        created_at=now,
        deadline=policy.compute_deadline(now),
        ends_at=policy.compute_deadline(now),
        resend_at=now + policy.cooldown * SECOND,
        attempts_left=policy.attempts,
        sends_left=policy.sends - 1,
    )


def code(send: int, settles_at: int = 0) -> LiveCode:
    """Return the code of a send, which is also its hash."""
    return LiveCode(str(send).encode(), "1", send, settles_at)


def sends(codes: tuple[LiveCode, ...]) -> list[int]:
    """Return which sends carry these codes."""
    return [one.send for one in codes]


def claimed(challenge: Challenge, times: int) -> Challenge:
    """Return it after so many claims."""
    for _ in range(times):
        challenge = challenge.charge_attempt(NOW)
    return challenge


class Life(RuleBasedStateMachine):
    """One challenge and its secret, moved by callers who come in any order."""

    @initialize(attempts=st.integers(1, 5), most=st.integers(1, 2), count=st.integers(1, 10))
    def issue(self, attempts: int, most: int, count: int) -> None:
        """Begin, under any policy that can be configured."""
        self.policy = Policy(attempts=attempts, live_codes=most, sends=count)
        self.now = NOW
        self.first = self.challenge = fresh(self.policy)
        self.secret = ChallengeSecret("+447400123456", bytes(16), (code(1),))
        self.before = self.challenge
        self.reported_status = self.challenge.compute_status(self.now)
        self.paid = self.unclaims = self.claims = 0
        self.in_flight: dict[int, int] = {}
        self.wins = 0

    def moved(self, new: Challenge) -> None:
        """Store what a move returned."""
        assert new.version == self.challenge.version + 1
        self.challenge = new

    def refused_as(self, status: ChallengeStatus, error: ChallengeEnded) -> None:
        """A refusal names the status, and every status has a refusal of its own."""
        assert ENDED_ERRORS[status] is type(error)

    @rule(span=st.one_of(st.integers(0, 40 * SECOND), st.sampled_from([PATIENCE, MINUTE, HOUR])))
    def wait(self, span: int) -> None:
        """Let time pass."""
        self.now += span

    @rule()
    def claim(self) -> None:
        """R15, R16: only what is pending can be tried, and each try is paid first."""
        status = self.challenge.compute_status(self.now)
        try:
            new = self.challenge.charge_attempt(self.now)
        except ChallengeEnded as error:
            self.refused_as(status, error)
            return
        assert status is ChallengeStatus.PENDING
        assert new.attempts_left == self.challenge.attempts_left - 1
        self.moved(new)
        self.paid += 1
        self.claims += 1

    @precondition(lambda self: self.paid)
    @rule()
    def unclaim(self) -> None:
        """Another limit refused: nothing was compared."""
        self.moved(self.challenge.refund_attempt())
        self.paid -= 1
        self.unclaims += 1

    @precondition(lambda self: self.paid)
    @rule()
    def lose(self) -> None:
        """It was wrong; the claim stays paid."""
        self.paid -= 1

    @precondition(lambda self: self.paid)
    @rule()
    def win(self) -> None:
        """R4: a claim that was paid in time wins, unless it was decided meanwhile."""
        self.paid -= 1
        if self.challenge.stored_status is ChallengeStatus.PENDING:
            self.moved(self.challenge.mark_verified(self.now, ANSWER))
            self.wins += 1
            return
        with pytest.raises(ENDED_ERRORS[self.challenge.stored_status]):
            self.challenge.mark_verified(self.now, ANSWER)

    @rule()
    def cancel(self) -> None:
        """R14: a second time changes nothing; what ended otherwise is not canceled."""
        status = self.challenge.compute_status(self.now)
        if status is ChallengeStatus.CANCELED:
            assert self.challenge.cancel(self.now) is self.challenge
        elif status is ChallengeStatus.PENDING:
            self.moved(self.challenge.cancel(self.now))
        else:
            with pytest.raises(ENDED_ERRORS[status]):
                self.challenge.cancel(self.now)

    @rule()
    def resend(self) -> None:
        """R3, R7: another code in addition to the earlier ones; the cooldown is a limit."""
        status, left = self.challenge.compute_status(self.now), self.challenge.deadline - self.now
        try:
            new = self.challenge.add_send(self.now, self.policy.cooldown * SECOND)
        except ChallengeEnded as error:
            late = status is ChallengeStatus.PENDING and left < MINUTE
            self.refused_as(ChallengeStatus.EXPIRED if late else status, error)
            return
        except SendsExhausted:
            assert 0 == self.challenge.sends_left
            return
        assert new.sends_left == self.challenge.sends_left - 1
        self.moved(new)
        self.secret = self.secret.add_code(code(new.sends, self.now + PATIENCE))
        self.in_flight[new.sends] = self.now

    @precondition(lambda self: self.in_flight)
    @rule(taken=st.booleans(), chance=st.integers(0, 9))
    def settle(self, taken: bool, chance: int) -> None:  # noqa: FBT001
        """The result of a send is stored in every status of the challenge."""
        send = sorted(self.in_flight)[chance % len(self.in_flight)]
        del self.in_flight[send]
        submission = Submission.from_reply("p1", Accepted("m"), at=0, milliseconds=1)
        self.moved(self.challenge.add_submissions((submission,)))
        most = self.policy.live_codes
        self.secret = self.secret.confirm_send(
            send, may_have_been_sent=taken, now=self.now, max_live_codes=most
        )
        assert taken or send not in sends(self.secret.codes)
        if not taken:
            self.moved(self.challenge.refund_send())

    @invariant()
    def attempts_stay_between_none_and_those_of_the_policy(self) -> None:
        """R16: at most five, and every one that is missing was paid for."""
        assert 0 <= self.challenge.attempts_left <= self.policy.attempts <= 5
        paid = self.policy.attempts - self.claims + self.unclaims
        assert paid == self.challenge.attempts_left

    @invariant()
    def sends_stay_between_none_and_those_of_the_policy(self) -> None:
        """The contract's states: three sends, the first counts."""
        assert 0 <= self.challenge.sends_left <= self.policy.sends - 1

    @invariant()
    def the_deadline_never_moves(self) -> None:
        """R3: nor does anything else that the code is bound to."""
        kept = ("tenant", "id", "purpose", "account", "number_pseudonym", "created_at", "deadline")
        for field in kept:
            assert getattr(self.first, field) == getattr(self.challenge, field)

    @invariant()
    def the_version_only_grows(self) -> None:
        """Every other value has another version, or two callers would not see each other."""
        assert self.challenge.version >= self.before.version
        assert (self.challenge == self.before) == (self.challenge.version == self.before.version)
        self.before = self.challenge

    @invariant()
    def what_was_decided_stays_decided(self) -> None:
        """R4: verified and canceled are final; an expired one can only still be won."""
        status = self.challenge.compute_status(self.now)
        if self.reported_status in {ChallengeStatus.VERIFIED, ChallengeStatus.CANCELED}:
            assert status is self.reported_status
        if self.reported_status is ChallengeStatus.EXPIRED:
            assert status in {ChallengeStatus.EXPIRED, ChallengeStatus.VERIFIED}
        assert self.wins == (status is ChallengeStatus.VERIFIED)
        self.reported_status = status

    @invariant()
    def it_is_told_for_an_hour_after_it_ended(self) -> None:
        """The contract's states: then everything is 404."""
        status, ends_at = self.challenge.compute_status(self.now), self.challenge.ends_at
        assert ends_at <= max(self.now, self.challenge.deadline)
        if status in {ChallengeStatus.PENDING, ChallengeStatus.EXPIRED}:
            assert ends_at == self.challenge.deadline
        assert not self.challenge.is_purged(ends_at + HOUR - 1)
        assert self.challenge.is_purged(ends_at + HOUR)

    @invariant()
    def at_most_two_codes_are_live_besides_those_being_sent(self) -> None:
        """R7: the newest ones that a provider has taken, and none of an earlier send twice."""
        most = self.policy.live_codes
        live = self.secret.select_live_codes(self.now, most)
        settled = [one for one in live if one.confirmed_at <= self.now]
        sending = [one for one in live if one.confirmed_at > self.now]
        assert len(settled) <= most <= 2
        assert set(sends(tuple(sending))) <= set(self.in_flight)
        assert 1 == max(Counter(sends(live)).values(), default=1)
        candidates = [one.send for one in self.secret.codes if one.confirmed_at <= self.now]
        assert sorted(candidates)[-most:] == sorted(sends(tuple(settled)))

    @invariant()
    def verifying_is_noted_exactly_when_it_happened(self) -> None:
        """R54: the answer is kept only once the code is dead."""
        is_verified = self.challenge.stored_status is ChallengeStatus.VERIFIED
        assert is_verified == (self.challenge.verified_at is not None)
        assert is_verified == (self.challenge.replay_key is not None)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# ---------------------------------------------------------------------- what is easier said once


def test_the_last_claim_locks_it_and_ends_it_now() -> None:
    """R16: five attempts, and a sixth is refused whatever code it brings."""
    locked = claimed(fresh(), 5)

    assert ChallengeStatus.LOCKED == locked.compute_status(NOW)
    assert NOW == locked.ends_at
    with pytest.raises(ChallengeLocked):
        locked.charge_attempt(NOW)


def test_a_claim_that_was_paid_wins_after_the_lock_and_after_the_deadline() -> None:
    """R15 as this project decides it: whatever claims came after it."""
    locked = claimed(fresh(), 5)

    for instant in (NOW, NOW + 10 * MINUTE):
        assert ChallengeStatus.VERIFIED == locked.mark_verified(instant, None).compute_status(
            instant
        )


def test_it_is_won_once_and_not_after_it_was_canceled() -> None:
    """R4: one caller wins; what its tenant ended stays ended."""
    challenge = fresh().charge_attempt(NOW)

    with pytest.raises(ChallengeAlreadyVerified):
        challenge.mark_verified(NOW, None).mark_verified(NOW, None)
    with pytest.raises(ChallengeCanceled):
        challenge.cancel(NOW).mark_verified(NOW, None)


def test_taking_back_the_last_claim_opens_it_until_its_deadline() -> None:
    """R20: another limit refused, so nothing happened."""
    reopened = claimed(fresh(), 5).refund_attempt()

    assert ChallengeStatus.PENDING == reopened.compute_status(NOW)
    assert (1, reopened.deadline) == (reopened.attempts_left, reopened.ends_at)


def test_taking_back_a_claim_reopens_nothing_that_was_decided() -> None:
    """R4: it ended when it ended."""
    for ended in (
        fresh().charge_attempt(NOW).mark_verified(NOW, None),
        fresh().charge_attempt(NOW).cancel(NOW),
    ):
        after = ended.refund_attempt()

        assert ended.compute_status(NOW) == after.compute_status(NOW)
        assert NOW == after.ends_at


def test_it_is_pending_until_its_deadline_and_not_at_it() -> None:
    """R3: `now >= deadline` is too late."""
    challenge = fresh()

    assert ChallengeStatus.PENDING == challenge.compute_status(challenge.deadline - 1)
    assert ChallengeStatus.EXPIRED == challenge.compute_status(challenge.deadline)
    with pytest.raises(ChallengeExpired):
        challenge.charge_attempt(challenge.deadline)


def test_in_the_last_minute_nothing_is_sent_again() -> None:
    """The contract's states: a message would arrive too late to be typed in."""
    challenge = fresh()

    challenge.check_resend(challenge.deadline - MINUTE)
    with pytest.raises(ChallengeExpired, match="Too little time"):
        challenge.check_resend(challenge.deadline - MINUTE + 1)


def test_a_code_that_is_being_sent_replaces_no_other() -> None:
    """R7: if no provider takes it, the person has only the earlier ones."""
    secret = ChallengeSecret("+447400123456", b"", (code(1), code(2), code(3, NOW + PATIENCE)))

    assert [1, 2, 3] == sends(secret.select_live_codes(NOW, 2))
    assert [2, 3] == sends(
        secret.confirm_send(3, may_have_been_sent=True, now=NOW, max_live_codes=2).codes
    )
    assert [1, 2] == sends(
        secret.confirm_send(3, may_have_been_sent=False, now=NOW, max_live_codes=2).codes
    )
    assert [2, 3] == sends(secret.select_live_codes(NOW + PATIENCE, 2))


def test_a_send_without_a_code_any_more_changes_no_code() -> None:
    """A provider's answer may come after two later ones."""
    secret = ChallengeSecret("+447400123456", b"", (code(2), code(3)))

    assert secret == secret.confirm_send(1, may_have_been_sent=True, now=NOW, max_live_codes=2)


@pytest.mark.parametrize("most", [1, 2])
def test_a_late_reply_does_not_make_an_old_code_the_newest(most: int) -> None:
    """R7: the newest send's code stays, also if an earlier send is settled after it."""
    sending = tuple(code(send, NOW + PATIENCE) for send in (1, 2, 3))
    secret = ChallengeSecret("+447400123456", b"", sending)

    for send in (3, 1, 2):
        secret = secret.confirm_send(send, may_have_been_sent=True, now=NOW, max_live_codes=most)

    assert [1, 2, 3][-most:] == sorted(sends(secret.codes))


@given(st.integers(0, 63), st.binary(min_size=16, max_size=16))
def test_an_id_tells_its_partition(partition: int, random: bytes) -> None:
    """R6: and 128 random bits."""
    challenge_id = build_challenge_id(partition, random)

    assert partition == parse_partition(challenge_id)
    assert CHALLENGE_ID.fullmatch(challenge_id)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c64-" + "0" * 32,
        "c99-" + "0" * 32,
        "c7-" + "0" * 32,
        "c007-" + "0" * 32,
        "c07-" + "0" * 31,
        "c07-" + "0" * 33,
        "c07-" + "A" * 32,
        "c07-" + "g" * 32,
        "C07-" + "0" * 32,
        "c07-" + "0" * 32 + "\n",
        " c07-" + "0" * 32,
        "c٠٧-" + "0" * 32,
        "c07-" + "０" * 32,
        "c07_" + "0" * 32,
        "{07}:challenge:shop:c07-" + "0" * 32,
        "c07-*",
    ],
)
def test_what_is_no_id_has_no_partition(text: str) -> None:
    """R80: so it never becomes a key."""
    assert parse_partition(text) is None


def test_moves_are_made_on_the_value_they_were_given() -> None:
    """The same challenge can be claimed twice in parallel; the store takes one of the two."""
    challenge = fresh()

    chain = [challenge, challenge.charge_attempt(NOW), challenge.charge_attempt(NOW)]

    assert [1, 2, 2] == [one.version for one in chain]
    assert all(one.deadline == other.deadline for one, other in pairwise(chain))
