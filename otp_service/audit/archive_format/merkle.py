"""Merkle trees (RFC 9162, section 2.1): an inclusion path proves one entry without the others."""

import hashlib
from collections.abc import Iterable, Sequence


EMPTY_ROOT = hashlib.sha256().digest()


def hash_leaf(line: bytes) -> bytes:
    return hashlib.sha256(b"\0" + line).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node. Its prefix differs from a leaf's, so no leaf has the same."""
    return hashlib.sha256(b"\1" + left + right).digest()


def compute_root(leaves: Iterable[bytes]) -> bytes:
    level = list(leaves) or [EMPTY_ROOT]
    while len(level) > 1:
        level = _compute_parent_level(level)
    return level[0]


def build_inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the sibling hashes from the leaf at `index` (from 0) up to the root."""
    level, path = list(leaves), []
    while len(level) > 1:
        if (sibling := index ^ 1) < len(level):
            path.append(level[sibling])
        level, index = _compute_parent_level(level), index // 2
    return path


def compute_root_from_path(node: bytes, index: int, count: int, path: Sequence[bytes]) -> bytes:
    """Return the root over a leaf's hash and its path. Raises ValueError if they fit no tree."""
    siblings, last = iter(path), count - 1
    if not 0 <= index <= last:
        raise ValueError(index)
    try:
        while last > 0:
            if index % 2:
                node = hash_node(next(siblings), node)
            elif index < last:
                node = hash_node(node, next(siblings))
            index, last = index // 2, last // 2
    except StopIteration:
        raise ValueError(index) from None
    if next(siblings, None) is not None:
        raise ValueError(index)
    return node


def _compute_parent_level(level: list[bytes]) -> list[bytes]:
    """Return the level above. A node without a sibling is promoted unchanged (RFC 9162 §2.1.1)."""
    pairs = [hash_node(*pair) for pair in zip(level[::2], level[1::2], strict=False)]
    return pairs + level[len(pairs) * 2 :]
