"""Walks the two forests of accounts, by birth and by merge, without ever walking their union."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def chain(start: str, edges: Mapping[str, str | None]) -> list[str] | None:
    """Return the nodes from `start` along its edges to the end; None if they run in a ring."""
    found, node = [start], edges.get(start)
    while node is not None:
        if node in found:
            return None
        found.append(node)
        node = edges.get(node)
    return found


def effective_parent(
    account: str, parents: Mapping[str, str | None], merged: Mapping[str, str | None]
) -> str | None:
    """Return who stands for the parent now; both forests must be free of rings.

    From the parent along merged_into to an account that is not merged; if that is the account
    itself, on with the grandparent; none is None.
    """
    ancestor = parents.get(account)
    while ancestor is not None:
        line = chain(ancestor, merged)
        if line is not None and line[-1] != account:
            return line[-1]
        ancestor = parents.get(ancestor)
    return None
