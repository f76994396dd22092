"""Merkle trees as in RFC 9162, section 2.1: one entry can be proved without showing the others."""

import hashlib
from collections.abc import Iterable, Sequence


EMPTY_ROOT = hashlib.sha256().digest()
"""The root over no entries."""


def hash_leaf(line: bytes) -> bytes:
    """Return the hash of one line."""
    return hashlib.sha256(b"\0" + line).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """Return the hash over two hashes; no leaf can have the same."""
    return hashlib.sha256(b"\1" + left + right).digest()


def compute_root(leaves: Iterable[bytes]) -> bytes:
    """Return the root over hashes of lines."""
    level = list(leaves)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        level = _compute_parent_level(level)
    return level[0]


def build_inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the hashes that lead from one leaf (counted from 0) to the root."""
    level, found = list(leaves), []
    while len(level) > 1:
        if (beside := index ^ 1) < len(level):
            found.append(level[beside])
        level, index = _compute_parent_level(level), index // 2
    return found


def compute_root_from_path(
    leaf_hash: bytes, index: int, count: int, path: Sequence[bytes]
) -> bytes:
    """Return the root that a leaf and its path lead to. Raises ValueError if they fit no tree."""
    left, last = iter(path), count - 1
    if not 0 <= index <= last:
        raise ValueError(index)
    try:
        while last > 0:
            if index % 2:
                leaf_hash = hash_node(next(left), leaf_hash)
            elif index < last:
                leaf_hash = hash_node(leaf_hash, next(left))
            index, last = index // 2, last // 2
    except StopIteration:
        raise ValueError(index) from None
    if next(left, None) is not None:
        raise ValueError(index)
    return leaf_hash


def _compute_parent_level(level: list[bytes]) -> list[bytes]:
    """Return the level above; whoever has nobody beside goes up as he is."""
    pairs = [hash_node(*pair) for pair in zip(level[::2], level[1::2], strict=False)]
    return pairs + level[len(pairs) * 2 :]
