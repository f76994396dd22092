"""Merkle trees of Certificate Transparency (RFC 9162, RFC 6962)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.audit.archive_format import merkle


LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
"""The reference inputs of Certificate Transparency."""

ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""The roots over the first 0, 1, 2… of them."""

PATHS = [
    (0, 1, []),
    (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
"""Index of a leaf, number of leaves, and the known path."""

lines = st.lists(st.binary(max_size=40), min_size=1, max_size=40, unique=True)


@pytest.mark.parametrize("count", range(9))
def test_roots_are_those_of_certificate_transparency(count):
    """Also without leaves."""
    assert ROOTS[count] == merkle.compute_root(map(merkle.hash_leaf, LEAVES[:count])).hex()


@pytest.mark.parametrize(("index", "count", "through"), PATHS)
def test_paths_are_those_of_certificate_transparency(index, count, through):
    """From the leaf up to the root."""
    leaves = list(map(merkle.hash_leaf, LEAVES[:count]))

    path = merkle.build_inclusion_path(leaves, index)

    assert through == [hashed.hex() for hashed in path]
    assert ROOTS[count] == merkle.compute_root_from_path(leaves[index], index, count, path).hex()


@given(lines)
def test_the_root_is_that_of_the_definition(entries):
    """Split at the largest smaller power of two: RFC 9162, 2.1.1."""

    def defined(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return leaves[0]
        split = 1 << ((len(leaves) - 1).bit_length() - 1)
        return merkle.hash_node(defined(leaves[:split]), defined(leaves[split:]))

    leaves = list(map(merkle.hash_leaf, entries))

    assert defined(leaves) == merkle.compute_root(leaves)


@given(lines, st.data())
def test_each_path_leads_to_the_root(entries, data):
    """Not from another leaf, index or number of leaves, and not with a longer or shorter path."""
    leaves = list(map(merkle.hash_leaf, entries))
    index = data.draw(st.integers(0, len(leaves) - 1))
    path, root = merkle.build_inclusion_path(leaves, index), merkle.compute_root(leaves)

    def leads(leaf: bytes, index: int, count: int, path: list[bytes]) -> bool:
        try:
            return merkle.compute_root_from_path(leaf, index, count, path) == root
        except ValueError:
            return False

    assert leads(leaves[index], index, len(leaves), path)
    assert not leads(merkle.hash_leaf(b"other"), index, len(leaves), path)
    assert not leads(leaves[index], index, len(leaves), [*path, root])
    assert not leads(leaves[index], len(leaves), len(leaves), path)
    assert not leads(leaves[index], -1, len(leaves), path)
    if path:
        assert not leads(leaves[index], index, len(leaves), path[:-1])
        assert not leads(leaves[index], index ^ 1, len(leaves), path)


def test_a_leaf_and_a_node_never_have_the_same_hash():
    """Two hashes, hashed as a line, differ from their node."""
    left, right = map(merkle.hash_leaf, LEAVES[:2])

    assert merkle.hash_node(left, right) != merkle.hash_leaf(left + right)
