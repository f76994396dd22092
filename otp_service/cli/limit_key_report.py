"""What `limit-key` and `check` print about the contents of limit keys."""

from collections.abc import Iterator, Mapping, Sequence

from otp_service.cli.tables import format_table
from otp_service.settings import ConfigIssue
from otp_service.store.limit_key_contents import (
    EXPIRING_KINDS,
    MOVED_KINDS,
    ContentKind,
    LimitKeyContents,
)


LIMIT_RING_SETTING = "keys.limit"

MOVE_COMMAND = "'otp-service limit-key move'"


def format_contents(contents: LimitKeyContents) -> Iterator[str]:
    """Yield a table with a line for each limit key, configured or not."""
    kinds = (*MOVED_KINDS, *EXPIRING_KINDS)
    rows = [("LIMIT KEY", *(kind.upper() for kind in kinds))]
    in_force, *others = contents.key_ids
    in_place = (str(contents.in_place[kind]) if kind in MOVED_KINDS else "-" for kind in kinds)
    rows.append((f"{in_force} (in force)", *in_place))
    missing = contents.list_missing_keys()
    for key_id in dict.fromkeys([*others, *contents.list_used_keys(), *missing]):
        name = f"{key_id} (missing)" if key_id in missing else key_id
        if key_id == in_force:
            name = f"{key_id} (in another partition)"
        rows.append((name, *(str(contents.elsewhere[key_id, kind]) for kind in kinds)))
    if contents.unreadable.total():
        rows.append(("(unreadable)", *(str(contents.unreadable[kind]) for kind in kinds)))
    return format_table(rows)


def list_errors(contents: LimitKeyContents) -> Iterator[ConfigIssue]:
    """Yield what is under a key that is missing, and what cannot be read."""
    for key_id in contents.list_missing_keys():
        found = _describe(contents, key_id, MOVED_KINDS)
        yield ConfigIssue(
            LIMIT_RING_SETTING,
            f"misses the key {key_id!r}, which {found} are under: sends and attempts are not refused for"
            f" them. Put it back after {contents.key_ids[0]!r}, reload, and run {MOVE_COMMAND}",
        )
    if contents.unreadable.total():
        found = _join(contents.unreadable)
        yield ConfigIssue(
            LIMIT_RING_SETTING,
            f"does not open {found}: another program has changed them. They are in force as long as"
            " the key that names them is, and cannot be moved (docs/key-rotation.md)",
        )


def list_notes(contents: LimitKeyContents) -> Iterator[ConfigIssue]:
    """Yield what is left under each other key that is configured, or that it may be removed."""
    in_force, *others = contents.key_ids
    if contents.count_under(in_force):
        found = _describe(contents, in_force, tuple(ContentKind))
        yield ConfigIssue(
            LIMIT_RING_SETTING, f"{found} are where an earlier key has put them: {MOVE_COMMAND}"
        )
    for key_id in others:
        yield from _list_notes_of(contents, key_id)


def _list_notes_of(contents: LimitKeyContents, key_id: str) -> Iterator[ConfigIssue]:
    if not contents.count_under(key_id):
        yield ConfigIssue(
            LIMIT_RING_SETTING,
            f"nothing is under {key_id!r}. If it is the earlier key, remove it; if you have just added"
            " it, put it in front on every machine",
        )
        return
    if contents.count_under(key_id, MOVED_KINDS):
        found = _describe(contents, key_id, MOVED_KINDS)
        yield ConfigIssue(
            LIMIT_RING_SETTING,
            f"{found} are under {key_id!r}: keep it. If every process has {contents.key_ids[0]!r} in front,"
            f" move them with {MOVE_COMMAND}",
        )
    if contents.elsewhere[key_id, ContentKind.LIVE_CODE]:
        found = _describe(contents, key_id, (ContentKind.LIVE_CODE,))
        yield ConfigIssue(
            LIMIT_RING_SETTING,
            f"{found} are under {key_id!r}: keep it until they end, in 10 minutes at most"
            f"{_describe_waiting(contents)}",
        )
    yield from _list_expiring_notes(contents, key_id)


def _list_expiring_notes(contents: LimitKeyContents, key_id: str) -> Iterator[ConfigIssue]:
    """Yield what is left that no command moves and that is kept for longer than a code."""
    if contents.elsewhere[key_id, ContentKind.RECIPIENT]:
        found = _describe(contents, key_id, (ContentKind.RECIPIENT,))
        yield ConfigIssue(
            LIMIT_RING_SETTING,
            f"{found} are under {key_id!r}: without it their STOP does not count. They end 30 days after"
            " the last message",
        )
    if contents.elsewhere[key_id, ContentKind.KNOWN_NUMBER]:
        found = _describe(contents, key_id, (ContentKind.KNOWN_NUMBER,))
        yield ConfigIssue(
            LIMIT_RING_SETTING,
            f"{found} are under {key_id!r}: without it the brake on SMS pumping charges them as new numbers"
            " until they verify again. They end 90 days after the last verification",
        )


def _describe_waiting(contents: LimitKeyContents) -> str:
    """Return what a run of the move leaves because of valid codes; empty if it leaves nothing."""
    count = sum(map(contents.is_waiting, contents.misplaced))
    if not count:
        return ""
    return f". The consecutive failures of their numbers ({count}) are moved by a run after that"


def _describe(contents: LimitKeyContents, key_id: str, kinds: Sequence[ContentKind]) -> str:
    return _join({kind: contents.elsewhere[key_id, kind] for kind in kinds})


def _join(counts: Mapping[ContentKind, int]) -> str:
    *first, last = (f"{kind} ({count})" for kind, count in counts.items() if count)
    return f"{', '.join(first)} and {last}" if first else last
