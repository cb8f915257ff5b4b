"""The audit oracle against published vectors, trees of every shape, and forgeries."""

from __future__ import annotations

import hashlib
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from certification.oracle import audit

INPUTS = [
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
"""The leaves of the test vectors of Certificate Transparency (RFC 6962 and 9162 have one tree)."""
LEAVES = [hashlib.sha256(b"\x00" + data).digest() for data in INPUTS]
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    6: "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


# -- proofs as RFC 9162 defines them (2.1.3.1, 2.1.4.1), for small trees ---------------------------


def split(size: int) -> int:
    return max(1 << power for power in range(size.bit_length()) if 1 << power < size)


def path(index: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*path(index, leaves[:k]), audit.tree_root(leaves[k:])]
    return [*path(index - k, leaves[k:]), audit.tree_root(leaves[:k])]


def subproof(old: int, leaves: list[bytes], *, whole: bool = True) -> list[bytes]:
    if old == len(leaves):
        return [] if whole else [audit.tree_root(leaves)]
    k = split(len(leaves))
    if old <= k:
        return [*subproof(old, leaves[:k], whole=whole), audit.tree_root(leaves[k:])]
    return [*subproof(old - k, leaves[k:], whole=False), audit.tree_root(leaves[:k])]


def head(leaves: list[bytes], size: int) -> tuple[int, bytes]:
    return size, audit.tree_root(leaves[:size])


def test_roots_of_the_published_tree() -> None:
    for size, root in ROOTS.items():
        assert audit.tree_root(LEAVES[:size]).hex() == root


def test_a_published_inclusion_path() -> None:
    # Leaf 5 (index) of 8, as Certificate Transparency's vectors have it.
    steps = [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    found = audit.root_from_inclusion(LEAVES[5], 5, 8, audit.steps(steps))
    assert found
    assert found.hex() == ROOTS[8]


def test_a_published_consistency_proof() -> None:
    steps = [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    old, new = (6, bytes.fromhex(ROOTS[6])), (8, bytes.fromhex(ROOTS[8]))
    assert audit.is_consistent(old, new, audit.steps(steps))
    assert not audit.is_consistent(old, new, audit.steps(steps[:2]))
    assert not audit.is_consistent((6, new[1]), new, audit.steps(steps))


def test_every_proof_of_small_trees_and_no_other() -> None:
    for size in range(1, 14):
        leaves = [hashlib.sha256(bytes([n])).digest() for n in range(size)]
        new = head(leaves, size)
        for index in range(size):
            steps = path(index, leaves)
            assert audit.root_from_inclusion(leaves[index], index, size, steps) == new[1]
            assert audit.root_from_inclusion(leaves[index], index, size, [*steps, new[1]]) is None
            for other in range(size):
                found = audit.root_from_inclusion(leaves[index], other, size, steps)
                assert (found == new[1]) == (other == index)
            if steps:
                assert audit.root_from_inclusion(leaves[index], index, size, steps[:-1]) != new[1]
        assert audit.root_from_inclusion(leaves[0], size, size, []) is None
        for old in range(1, size + 1):
            steps = subproof(old, leaves)
            assert audit.is_consistent(head(leaves, old), new, steps)
            assert not audit.is_consistent(head(leaves, old), new, [*steps, new[1]])
            forged = (old, hashlib.sha256(b"forged").digest())
            assert not audit.is_consistent(forged, new, steps)
            if old < size:
                assert not audit.is_consistent(head(leaves, old), (size, forged[1]), steps)
        if size == 3:
            lie = (5, new[1])
            assert not audit.is_consistent(head(leaves, 2), lie, subproof(2, leaves)), "too short"
        assert audit.is_consistent((0, audit.EMPTY_ROOT), new, [])
        assert not audit.is_consistent((0, new[1]), new, [])
        assert not audit.is_consistent((size + 1, new[1]), new, [])
        assert not audit.is_consistent((0, audit.EMPTY_ROOT), new, [new[1]])


@given(st.integers(1, 400), st.data())
def test_proofs_of_larger_trees(size: int, data: st.DataObject) -> None:
    leaves = [n.to_bytes(32, "big") for n in range(size)]
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    new = head(leaves, size)
    assert audit.root_from_inclusion(leaves[index], index, size, path(index, leaves)) == new[1]
    assert audit.is_consistent(head(leaves, old), new, subproof(old, leaves))


def test_rewriting_any_old_leaf_breaks_consistency() -> None:
    leaves = [bytes([n]) * 32 for n in range(11)]
    for old in range(1, 11):
        for changed in range(old):
            forged = [*leaves[:changed], b"\xff" * 32, *leaves[changed + 1 :]]
            steps = subproof(old, forged)
            assert not audit.is_consistent(head(leaves, old), head(forged, 11), steps)


# -- canonical JSON --------------------------------------------------------------------------------


def test_examples_of_rfc_8785() -> None:
    # Section 3.2.2 (strings and literals), its numbers left out: records have integers only.
    strings = {
        "string": '€$\x0f\nA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    spelled = '{"literals":[null,true,false],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    assert audit.canonical(strings) == spelled.encode()
    # Section 3.2.3: the order is that of UTF-16 code units, so U+1F600 stands before U+FB33.
    names = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\x80": "Control",
        "\xf6": "Latin Small Letter O With Diaeresis",
    }
    ordered = ["\r", "1", "\x80", "\xf6", "\u20ac", "\U0001f600", "\ufb33"]
    text = audit.canonical(names).decode()
    places = [text.index(names[name]) for name in ordered]
    assert places == sorted(places)


@pytest.mark.parametrize("value", [1.5, 1e3, float("nan"), 2**53, b"x", "\ud800", {1}])
def test_what_no_record_holds_has_no_canonical_form(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  UnicodeEncodeError is one, with its own words
        audit.canonical({"a": value})


# -- records and signatures ------------------------------------------------------------------------


def trail(count: int, *, first: int = 1) -> list[dict[str, Any]]:
    """Records that follow one another."""
    records: list[dict[str, Any]] = []
    previous = audit.GENESIS
    for seq in range(first, first + count):
        record = {"seq": seq, "actor": "usr_\xf6", "outcome": "done", "prev_hash": previous}
        previous = audit.leaf_hash(record).hex()
        records.append(record | {"leaf_hash": previous})
    return records


def test_a_leaf_is_the_hash_of_the_record_as_shown() -> None:
    record = {"seq": 1, "actor": "a", "leaf_hash": "left out"}
    assert audit.leaf_hash(record) == hashlib.sha256(b'\x00{"actor":"a","seq":1}').digest()


def test_a_right_chain_has_no_breaks_and_a_touched_one_has() -> None:
    records = trail(5)
    assert audit.chain_breaks(records) == []
    assert audit.chain_breaks(records[2:]) == [], "a page begins anywhere"
    for number in range(5):
        edited = [dict(record) for record in records]
        edited[number]["actor"] = "usr_else"
        assert len(audit.chain_breaks(edited)) == 1, "the hash is that of the old words"
        edited[number]["leaf_hash"] = audit.leaf_hash(edited[number]).hex()
        breaks = audit.chain_breaks(edited)
        assert len(breaks) == (number < 4), "the next one names the old hash"
    assert audit.chain_breaks([records[0], records[2]]) == ["record 1 is followed by 3"]
    assert audit.chain_breaks([records[1], records[0]]) != []
    started = trail(1)[0] | {"prev_hash": "1" * 64}
    started["leaf_hash"] = audit.leaf_hash(started).hex()
    assert audit.chain_breaks([started]) == ["record 1 names a record before it"]


def signed(**members: Any) -> tuple[dict[str, Any], str]:
    """A checkpoint and its key; the signed bytes are spelled here by hand."""
    shown = {"size": 3, "root": "ab" * 32, "ts": "2026-11-20T09:30:00Z", "epoch": 1} | members
    said = (
        f'alluse-audit-checkpoint-v1\n{{"epoch":{shown["epoch"]},"root":"{shown["root"]}",'
        f'"size":{shown["size"]},"ts":"{shown["ts"]}"}}'
    )
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return shown | {"signature": private.sign(said.encode()).hex()}, pem.decode()


def test_a_signature_covers_all_four_members() -> None:
    checkpoint, key = signed()
    assert audit.is_signed(checkpoint, key)
    assert audit.is_signed(checkpoint | {"inclusion": []}, key), "proofs are not signed"
    for name, other in (("size", 4), ("root", "cd" * 32), ("ts", "2026-11-21"), ("epoch", 2)):
        assert not audit.is_signed(checkpoint | {name: other}, key)
    another = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32).public_key()
    pem = another.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert not audit.is_signed(checkpoint, pem)
    with pytest.raises(ValueError):  # noqa: PT011  of the library
        audit.is_signed(checkpoint, "no key")


def test_an_inclusion_proves_one_record_only() -> None:
    records = trail(6)
    leaves = [audit.leaf_hash(record) for record in records]
    checkpoint = {"size": 6, "root": audit.tree_root(leaves).hex()}
    for number, record in enumerate(records):
        shown = checkpoint | {"inclusion": [step.hex() for step in path(number, leaves)]}
        proved = [other["seq"] for other in records if audit.is_included(shown, other)]
        assert proved == [record["seq"]]


# -- each rule has a mutant ------------------------------------------------------------------------

MUTANTS = {
    "sorted by characters": ('name.encode("utf-16-be")', "name"),
    "escaped": ("ensure_ascii=False", "ensure_ascii=True"),
    "spaces": ('f"{_spelled(name)}:{_', 'f"{_spelled(name)}: {_'),
    "any integer": ("abs(value) <= INTEGER_MAX", "abs(value) <= 2 * INTEGER_MAX"),
    "leaves have no prefix": ('b"\\x00" + canonical', 'b"" + canonical'),
    "nodes have no prefix": ('b"\\x01" + left', 'b"\\x00" + left'),
    "turned round": ('b"\\x01" + left + right', 'b"\\x01" + right + left'),
    "the leaf hashes itself": ('if name != "leaf_hash"', 'if name != "leaf"'),
    "any genesis": ('seq == 1 and record["prev_hash"] != GENESIS', "False"),
    "gaps pass": ('seq != before["seq"] + 1', 'seq <= before["seq"]'),
    "links pass": ('record["prev_hash"] != before["leaf_hash"]', "False"),
    "hashes pass": ('leaf_hash(record).hex() != record["leaf_hash"]', "False"),
    "split in halves": ("1 << (len(leaves) - 1).bit_length() - 1", "len(leaves) // 2"),
    "any index": ("if not 0 <= index < size:", "if False:"),
    "any length": ("return found if last == 0 else None", "return found"),
    "right edge forgotten": (
        "found = node_hash(sibling, found)\n            while not node & 1 and node:",
        "found = node_hash(sibling, found)\n            while False:",
    ),
    "old root unproved": ("below == first_root and ", ""),
    "new root unproved": (" and above == second_root", ""),
    "a shorter tree continues": (
        "if first >= second:",
        "if first > second:\n        return True\n    if first == second:",
    ),
    "an empty root is any": ("first_root == EMPTY_ROOT and not path", "not path"),
    "a proof of nothing": ("first_root == EMPTY_ROOT and not path", "first_root == EMPTY_ROOT"),
    "the old root is not put first": (
        "if first & (first - 1) else [first_root, *path]",
        "if first else [first_root, *path]",
    ),
    "consistency of any length": ("return last == 0 and below", "return below"),
    "no context": ("said = CONTEXT + canonical", "said = canonical"),
    "the epoch is not signed": ('("epoch", "root", "size", "ts")', '("root", "size", "ts")'),
    "any signature": (
        "except InvalidSignature:\n        return False",
        "except InvalidSignature:\n        return True",
    ),
    "off by one": ('record["seq"] - 1, size', 'record["seq"], size'),
}


@pytest.mark.parametrize("name", list(MUTANTS))
def test_a_mutant_is_killed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    old, new = MUTANTS[name]
    source = Path(str(audit.__file__)).read_text(encoding="utf-8")
    assert source.count(old) == 1, "the mutant must change one place"
    mutant = types.ModuleType(audit.__name__)
    monkeypatch.setitem(sys.modules, audit.__name__, mutant)
    exec(compile(source.replace(old, new), name, "exec"), vars(mutant))  # noqa: S102  our own source
    monkeypatch.setitem(globals(), "audit", mutant)
    killed = []
    for test in (
        test_roots_of_the_published_tree,
        test_a_published_inclusion_path,
        test_a_published_consistency_proof,
        test_every_proof_of_small_trees_and_no_other,
        test_examples_of_rfc_8785,
        test_a_leaf_is_the_hash_of_the_record_as_shown,
        test_a_right_chain_has_no_breaks_and_a_touched_one_has,
        test_a_signature_covers_all_four_members,
        test_an_inclusion_proves_one_record_only,
        lambda: test_what_no_record_holds_has_no_canonical_form(2**53),
    ):
        try:
            test()
        except (Exception, pytest.fail.Exception) as ended:  # noqa: BLE001  however a mutant dies
            killed.append(ended)
    assert killed, "no vector tells the mutant from the oracle"
