"""Streams. An approximate XTRIM deletes whole nodes, so a stream has the nodes that Redis makes.

The rules are those of t_stream.c and listpack.c in Redis 7 and Valkey 8, with the defaults of
`stream-node-max-bytes` and `stream-node-max-entries`.
"""

import re
from collections.abc import Callable, Iterable, Sequence

import msgspec


NODE_MAX_BYTES = 4096
NODE_MAX_ENTRIES = 100
MAX_TRIMMED_ENTRIES = 100 * NODE_MAX_ENTRIES
"""Deleted by one approximate XTRIM at most."""

EntryId = tuple[int, int]
"""Milliseconds and sequence."""

MIN_ID: EntryId = (0, 0)
MAX_ID: EntryId = (2**64 - 1, 2**64 - 1)

_CANONICAL_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}")


class StreamEntry(msgspec.Struct, frozen=True):
    """An entry with its fields and values in turn."""

    id: EntryId
    fields: tuple[bytes, ...]


class StreamNode(msgspec.Struct, frozen=True):
    """A listpack: its entries that were not deleted, and what decides whether it takes another one."""

    entries: tuple[StreamEntry, ...]
    first_id: EntryId
    last_id: EntryId
    names: tuple[bytes, ...]
    appended: int
    size: int
    """Bytes of the listpack, with the entries that were deleted."""

    def append(self, entry: StreamEntry) -> "StreamNode":
        """Return the node with one more entry."""
        return StreamNode(
            (*self.entries, entry),
            self.first_id,
            entry.id,
            self.names,
            self.appended + 1,
            self.size + _measure_entry(self, entry),
        )

    def keep(self, entries: Iterable[StreamEntry]) -> "StreamNode":
        """Return the node with only these of its entries."""
        return msgspec.structs.replace(self, entries=tuple(entries))


class Stream(msgspec.Struct, frozen=True):
    """Entries by ascending id. An empty stream is kept, and remembers the last id."""

    nodes: tuple[StreamNode, ...] = ()
    last_id: EntryId = MIN_ID
    length: int = 0

    def append(self, entry_id: EntryId, fields: Sequence[bytes]) -> "Stream":
        """Return the stream with one more entry. Raises ValueError for an id that is not higher."""
        if entry_id <= self.last_id:
            raise ValueError(f"{entry_id} is not after {self.last_id}")
        entry = StreamEntry(entry_id, tuple(fields))
        nodes = self.nodes
        if nodes and _has_capacity(nodes[-1], entry):
            nodes = (*nodes[:-1], nodes[-1].append(entry))
        else:
            nodes = (*nodes, _begin_node(entry))
        return Stream(nodes, entry_id, self.length + 1)

    def delete(self, *entry_ids: EntryId) -> "Stream":
        """Return the stream without some entries, also if it does not have them."""
        nodes = []
        for node in self.nodes:
            kept = [entry for entry in node.entries if entry.id not in entry_ids]
            if len(kept) == len(node.entries):
                nodes.append(node)
            elif kept:
                nodes.append(node.keep(kept))
        return self._replace_nodes(nodes)

    def trim_before(self, min_id: EntryId, *, is_approximate: bool = False) -> "Stream":
        """Return the stream without entries before an id; approximate: without whole nodes of them."""
        nodes = self._drop_nodes(
            lambda node, _: node.last_id < min_id, is_approximate=is_approximate
        )
        if nodes and not is_approximate:
            nodes[0] = nodes[0].keep(entry for entry in nodes[0].entries if entry.id >= min_id)
        return self._replace_nodes(nodes)

    def trim_to(self, max_length: int, *, is_approximate: bool = False) -> "Stream":
        """Return the stream with its last entries; approximate: without whole nodes of others."""
        if self.length <= max_length:
            return self
        nodes = self._drop_nodes(
            lambda node, left: left > max_length and left - len(node.entries) >= max_length,
            is_approximate=is_approximate,
        )
        excess = sum(len(node.entries) for node in nodes) - max_length
        if nodes and excess > 0 and not is_approximate:
            nodes[0] = nodes[0].keep(nodes[0].entries[excess:])
        return self._replace_nodes(nodes)

    def list_range(
        self, first: EntryId = MIN_ID, last: EntryId = MAX_ID, count: int | None = None
    ) -> list[StreamEntry]:
        """Return the entries from an id to an id, both included; at most `count` of them."""
        found: list[StreamEntry] = []
        for node in self.nodes:
            if node.last_id >= first and node.first_id <= last:
                found += [entry for entry in node.entries if first <= entry.id <= last]
            if count is not None and len(found) >= count:
                return found[:count]
        return found

    def _drop_nodes(
        self, can_drop: Callable[[StreamNode, int], bool], *, is_approximate: bool
    ) -> list[StreamNode]:
        """Return the nodes without the first ones that can be dropped, by the entries left before."""
        left, dropped = self.length, 0
        for node in self.nodes:
            removed = self.length - left + len(node.entries)
            if not can_drop(node, left) or (is_approximate and removed > MAX_TRIMMED_ENTRIES):
                break
            left -= len(node.entries)
            dropped += 1
        return list(self.nodes[dropped:])

    def _replace_nodes(self, nodes: Sequence[StreamNode]) -> "Stream":
        length = sum(len(node.entries) for node in nodes)
        return self if length == self.length else Stream(tuple(nodes), self.last_id, length)


def parse_id(text: bytes, missing_sequence: int = 0) -> EntryId:
    """Return an id such as `1763814000123-42`. Raises ValueError for invalid ones."""
    ms, dash, sequence = text.partition(b"-")
    parsed = (_parse_part(ms), _parse_part(sequence) if dash else missing_sequence)
    if max(parsed) > MAX_ID[0]:
        raise ValueError("an id has two numbers of 64 bits")
    return parsed


def format_id(entry_id: EntryId) -> bytes:
    """Return an id as Redis writes it."""
    return b"%d-%d" % entry_id


def parse_range_start(text: bytes) -> EntryId:
    """Return the first id of XRANGE: `-`, an id, or `(` and the id before it."""
    if text == b"-":
        return MIN_ID
    if not text.startswith(b"("):
        return parse_id(text)
    ms, sequence = parse_id(text[1:])
    return (ms, sequence + 1) if sequence < MAX_ID[1] else (ms + 1, 0)


def parse_range_end(text: bytes) -> EntryId:
    """Return the last id of XRANGE: `+`, an id, or `(` and the id after it."""
    if text == b"+":
        return MAX_ID
    if not text.startswith(b"("):
        return parse_id(text, MAX_ID[1])
    ms, sequence = parse_id(text[1:], MAX_ID[1])
    return (ms, sequence - 1) if sequence > 0 else (ms - 1, MAX_ID[1])


def _parse_part(digits: bytes) -> int:
    if not digits.isdigit():
        raise ValueError("an id has two numbers of 64 bits")
    return int(digits)


def _begin_node(entry: StreamEntry) -> StreamNode:
    names = entry.fields[::2]
    # The header and the end, then the counts of entries, of deleted ones and of names, and a zero.
    size = 7 + 2 + 2 + _measure_integer(len(names)) + sum(map(_measure_bytes, names)) + 2
    return StreamNode((), entry.id, entry.id, names, 0, size).append(entry)


def _has_capacity(node: StreamNode, entry: StreamEntry) -> bool:
    size = node.size + sum(map(len, entry.fields))
    return size < NODE_MAX_BYTES and node.appended < NODE_MAX_ENTRIES


def _measure_entry(node: StreamNode, entry: StreamEntry) -> int:
    names, values = entry.fields[::2], entry.fields[1::2]
    has_node_names = names == node.names
    elements = len(values) + 3 if has_node_names else len(entry.fields) + 4
    named = 0 if has_node_names else _measure_integer(len(names)) + sum(map(_measure_bytes, names))
    ms, sequence = entry.id[0] - node.first_id[0], entry.id[1] - node.first_id[1]
    flags = 2
    integers = (
        flags + _measure_integer(ms) + _measure_integer(sequence) + _measure_integer(elements)
    )
    return integers + named + sum(map(_measure_bytes, values))


def _measure_integer(number: int) -> int:
    """Return the bytes of an integer in a listpack, with its length at the end."""
    if 0 <= number < 128:
        return 2
    bits = (number if number >= 0 else ~number).bit_length() + 1
    return next(
        size for width, size in ((13, 3), (16, 4), (24, 5), (32, 6), (64, 10)) if bits <= width
    )


def _measure_bytes(data: bytes) -> int:
    """Return the bytes of a string in a listpack, with its length at the end."""
    size = len(data)
    if size <= 20 and _CANONICAL_INTEGER.fullmatch(data) and -(2**63) <= int(data) < 2**63:
        return _measure_integer(int(data))
    size += 1 if size < 64 else 2 if size < 4096 else 5
    return size + (1 if size <= 127 else 2 if size < 16383 else 3)
