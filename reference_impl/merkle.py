"""Merkle trees of RFC 9162 over SHA-256: roots, proofs, and how a proof is checked."""

import hashlib
from collections.abc import Callable, Iterable, Sequence

Subtree = Callable[[int, int], bytes]
"""(level, index) -> hash over the leaves [index * 2**level, (index + 1) * 2**level)."""

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf (RFC 9162, 2.1.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node (RFC 9162, 2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The root of a growing tree from its leaves in order; keeps one hash for each set bit."""

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        """Begin with the empty tree."""
        self.size = 0
        self._peaks: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """Append a leaf hash."""
        self.size += 1
        top, left = leaf, self.size
        while left % 2 == 0:
            top = node_hash(self._peaks.pop(), top)
            left //= 2
        self._peaks.append(top)

    def root(self) -> bytes:
        """Return the root of the leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        top = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            top = node_hash(peak, top)
        return top


def fold(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.add(leaf)
    return frontier.root()


def root(subtree: Subtree, size: int) -> bytes:
    """Return the root of the first `size` leaves."""
    return _span(subtree, 0, size) if size else EMPTY_ROOT


def inclusion(subtree: Subtree, index: int, size: int) -> list[bytes]:
    """Return the path that proves leaf `index` in the tree of `size` leaves (2.1.3.1)."""
    path, start, end = [], 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_span(subtree, middle, end))
            end = middle
        else:
            path.append(_span(subtree, start, middle))
            start = middle
    return path[::-1]


def consistency(subtree: Subtree, old: int, new: int) -> list[bytes]:
    """Return the proof that the tree of `new` leaves continues that of `old` (2.1.4.1)."""
    if old in {0, new}:
        return []
    path, start, end = [], 0, new
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_span(subtree, middle, end))
            end = middle
        else:
            path.append(_span(subtree, start, middle))
            start = middle
    if start:
        path.append(_span(subtree, start, end))
    return path[::-1]


def proves_inclusion(
    leaf: bytes, index: int, path: Sequence[bytes], *, size: int, top: bytes
) -> bool:
    """Check an inclusion proof against the root `top` (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    position, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if position % 2 or position == last:
            found = node_hash(sibling, found)
            while position % 2 == 0 and position:
                position, last = position // 2, last // 2
        else:
            found = node_hash(found, sibling)
        position, last = position // 2, last // 2
    return last == 0 and found == top


def proves_consistency(
    old: tuple[int, bytes], new: tuple[int, bytes], path: Sequence[bytes]
) -> bool:
    """Check a consistency proof between two (size, root) (RFC 9162, 2.1.4.2)."""
    (old_size, old_root), (new_size, new_root) = old, new
    if old_size == 0:
        return not path and old_root == EMPTY_ROOT
    if old_size >= new_size:
        return old == new and not path
    steps = list(path)
    if old_size & (old_size - 1) == 0:
        steps.insert(0, old_root)
    if not steps:
        return False
    position, last = old_size - 1, new_size - 1
    while position % 2:
        position, last = position // 2, last // 2
    before = after = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            return False
        if position % 2 or position == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while position % 2 == 0 and position:
                position, last = position // 2, last // 2
        else:
            after = node_hash(after, sibling)
        position, last = position // 2, last // 2
    return last == 0 and (before, after) == (old_root, new_root)


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _span(subtree: Subtree, start: int, end: int) -> bytes:
    """Return the hash over leaves [start, end), where start begins a subtree of that height."""
    size = end - start
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return subtree(level, start >> level)
    middle = start + _split(size)
    return node_hash(_span(subtree, start, middle), _span(subtree, middle, end))
