"""Verifies an audit trail from outside: canonical records, hash chain, tree proofs, signatures.

Written from the contract's text (AuditRecord, AuditCheckpoint), RFC 8785 and RFC 9162 section 2.1.
Nothing here trusts what a deployment says of its own hashes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

GENESIS = "0" * 64
"""`prev_hash` of the first record."""
EMPTY_ROOT = hashlib.sha256(b"").digest()
CONTEXT = b"alluse-audit-checkpoint-v1\n"
SIGNED = ("epoch", "root", "size", "ts")
INTEGER_MAX = 2**53 - 1


def canonical(value: Any) -> bytes:
    """Return the canonical JSON (RFC 8785) of a value without fractions.

    Members are sorted by the UTF-16 code units of their names. `ValueError` for a float, an integer
    that is no safe one, and half a surrogate pair: no record of the contract has them.
    """
    return _spelled(value).encode("utf-8")


def _spelled(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) <= INTEGER_MAX:
        return str(value)
    if isinstance(value, str):
        # json escapes what RFC 8785 escapes, and nothing else, if it may write other characters.
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        members = (f"{_spelled(name)}:{_spelled(value[name])}" for name in names)
        return "{" + ",".join(members) + "}"
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return "[" + ",".join(_spelled(item) for item in value) + "]"
    raise ValueError(f"{value!r} has no canonical form here")


def leaf_hash(record: Mapping[str, Any]) -> bytes:
    """Return the leaf of a record as it is shown: SHA-256 over 0x00 and all but `leaf_hash`."""
    hashed = {name: value for name, value in record.items() if name != "leaf_hash"}
    return hashlib.sha256(b"\x00" + canonical(hashed)).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def chain_breaks(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what is wrong with records that must follow one another; empty if nothing is.

    They may begin anywhere; the first of all must name GENESIS.
    """
    found = []
    before: Mapping[str, Any] | None = None
    for record in records:
        seq = record["seq"]
        if before is None:
            if seq == 1 and record["prev_hash"] != GENESIS:
                found.append("record 1 names a record before it")
        elif seq != before["seq"] + 1:
            found.append(f"record {before['seq']} is followed by {seq}")
        elif record["prev_hash"] != before["leaf_hash"]:
            found.append(f"record {seq} does not name the hash of the record before it")
        if leaf_hash(record).hex() != record["leaf_hash"]:
            found.append(f"the hash of record {seq} is not that of its members")
        before = record
    return found


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes (RFC 9162, 2.1.1), by its definition."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(tree_root(leaves[:split]), tree_root(leaves[split:]))


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root that an inclusion path leads to (RFC 9162, 2.1.3.2).

    None for a path that is too long or too short for leaf `index` (from 0) in a tree of `size`.
    """
    if not 0 <= index < size:
        return None
    node, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    return found if last == 0 else None


def is_consistent(old: tuple[int, bytes], new: tuple[int, bytes], path: Sequence[bytes]) -> bool:
    """Tell whether a proof shows that the tree (size, root) `new` continues `old`.

    RFC 9162, 2.1.4.2; an empty tree is continued by every one, without a proof.
    """
    (first, first_root), (second, second_root) = old, new
    if first == 0:
        return first_root == EMPTY_ROOT and not path
    if first >= second:
        return (first, first_root) == (second, second_root) and not path
    steps = list(path) if first & (first - 1) else [first_root, *path]
    if not steps:
        return False
    node, last = first - 1, second - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    below = above = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            below, above = node_hash(sibling, below), node_hash(sibling, above)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            above = node_hash(above, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and below == first_root and above == second_root


def head(checkpoint: Mapping[str, Any]) -> tuple[int, bytes]:
    """Return size and root of a checkpoint."""
    return checkpoint["size"], bytes.fromhex(checkpoint["root"])


def steps(path: Sequence[str]) -> list[bytes]:
    """Return a proof as hashes."""
    return [bytes.fromhex(step) for step in path]


def is_signed(checkpoint: Mapping[str, Any], public_key: str) -> bool:
    """Tell whether a checkpoint is signed with the key (PEM); ValueError if that is none."""
    key = load_pem_public_key(public_key.encode())
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("not an Ed25519 key")  # noqa: TRY004  of the document, not of a caller
    said = CONTEXT + canonical({name: checkpoint[name] for name in SIGNED})
    try:
        key.verify(bytes.fromhex(checkpoint["signature"]), said)
    except InvalidSignature:
        return False
    return True


def is_included(checkpoint: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Tell whether the checkpoint's `inclusion` proves this very record."""
    size, root = head(checkpoint)
    path = steps(checkpoint["inclusion"])
    return root_from_inclusion(leaf_hash(record), record["seq"] - 1, size, path) == root
