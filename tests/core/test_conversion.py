"""Which message a success is credited to, from a challenge and from its events."""

from otp_service.core.conversion import ConversionMatcher, find_credited_submission
from otp_service.core.delivery import Accepted, Fault, Refused, Submission


def build_submission(provider, reply, send=1, ordinal=1):
    """Return a submission of this send."""
    submission = Submission.from_reply(provider, reply, at=0, milliseconds=1)
    return Submission(
        submission.provider,
        submission.outcome,
        submission.fault,
        None,
        0,
        1,
        send=send,
        ordinal=ordinal,
    )


def test_the_newest_message_that_may_have_been_sent_is_credited():
    """By send, then by ordinal, in any order; a refused message never arrived."""
    newest = build_submission("p3", Refused(Fault.UNKNOWN, "read-timeout"), 2, 2)
    submissions = [
        newest,
        build_submission("p1", Accepted("m"), 1, 9),
        build_submission("p2", Accepted("m"), 2, 1),
        build_submission("p4", Refused(Fault.PROVIDER, "x"), 2, 3),
    ]

    assert newest == find_credited_submission(submissions)


def test_without_a_message_nothing_is_credited():
    """A challenge whose code every provider refused."""
    assert find_credited_submission([]) is None
    refused = build_submission("p1", Refused(Fault.PROVIDER, "x"))
    assert find_credited_submission([refused]) is None


def test_events_newest_first_credit_one_message_of_a_challenge():
    """The first message after the success; messages before it, and other challenges, get nothing."""
    matcher = ConversionMatcher()
    matcher.add_verified("c1", repeated=False)
    matcher.add_verified("c2", repeated=True)

    credited = [matcher.add_sent(challenge) for challenge in ("c3", "c1", "c1", "c2")]

    assert [False, True, False, False] == credited
