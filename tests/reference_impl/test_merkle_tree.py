"""RFC 9162 trees: roots and proofs of every size, held against the definitions of the RFC."""

import functools
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl import merkle

SIZES = 70
LEAVES = [merkle.leaf_hash(str(number).encode()) for number in range(SIZES)]


@functools.cache
def head(start: int, end: int) -> bytes:
    """MTH(D[start:end]) as RFC 9162, section 2.1.1 defines it."""
    if start == end:
        return hashlib.sha256(b"").digest()
    if end - start == 1:
        return LEAVES[start]
    split = 1
    while split * 2 < end - start:
        split *= 2
    halves = head(start, start + split) + head(start + split, end)
    return hashlib.sha256(b"\x01" + halves).digest()


def subtree(level: int, index: int) -> bytes:
    return head(index << level, (index + 1) << level)


@pytest.mark.parametrize("size", range(SIZES))
def test_roots_are_those_of_the_definition(size: int) -> None:
    assert merkle.root(subtree, size) == head(0, size)
    assert merkle.fold(LEAVES[:size]) == head(0, size)


def test_every_leaf_of_every_tree_is_proved_and_no_other_in_its_place() -> None:
    for size in range(1, SIZES):
        top = head(0, size)
        for index in range(size):
            path = merkle.inclusion(subtree, index, size)
            proves = functools.partial(merkle.proves_inclusion, path=path, top=top)
            assert proves(LEAVES[index], index, size=size)
            assert not proves(LEAVES[(index + 1) % SIZES], index, size=size)
            if size > 1:
                assert not proves(LEAVES[index], (index + 1) % size, size=size)
            assert not proves(LEAVES[index], size, size=size)
            shorter = functools.partial(merkle.proves_inclusion, path=path[:-1], top=top)
            assert not path or not shorter(LEAVES[index], index, size=size)
            longer = [*path, LEAVES[0]]
            assert not merkle.proves_inclusion(LEAVES[index], index, longer, size=size, top=top)


def test_every_growth_is_proved() -> None:
    for new in range(SIZES):
        for old in range(new + 1):
            path = merkle.consistency(subtree, old, new)
            assert merkle.proves_consistency((old, head(0, old)), (new, head(0, new)), path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_proof_survives_a_change(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, SIZES - 1))
    old = data.draw(st.integers(1, new - 1))
    path = merkle.consistency(subtree, old, new)
    roots = [head(0, old), head(0, new), *path]
    place = data.draw(st.integers(0, len(roots) - 1))
    bit = data.draw(st.integers(0, 255))
    number = int.from_bytes(roots[place], "big") ^ (1 << bit)
    roots[place] = number.to_bytes(32, "big")
    assert not merkle.proves_consistency((old, roots[0]), (new, roots[1]), roots[2:])


def test_a_tree_does_not_shrink_and_an_equal_one_needs_the_same_root() -> None:
    assert not merkle.proves_consistency((5, head(0, 5)), (4, head(0, 4)), [])
    assert not merkle.proves_consistency((5, head(0, 5)), (5, head(0, 4)), [])
    assert not merkle.proves_consistency((3, head(0, 3)), (4, head(0, 4)), [])
    assert not merkle.proves_consistency((0, head(0, 1)), (4, head(0, 4)), [])
