"""Verifying an exported audit log offline: with the file and the public key, and nothing else.

A log is JSON lines in their one canonical spelling: the records from seq 1 on, then a signed
checkpoint over all of them. Checked are the spelling of every line, the chain of hashes, the
Merkle root and the signature; with further checkpoints, kept elsewhere, also that the log still
begins with the very records they were signed over.

A restore leaves a record that opens an epoch and names how many records were kept and how many
abandoned, with their roots. What it says is checked too: a kept checkpoint of an older epoch either
lies in what was kept, or has the very root that was abandoned, or is one of those that only the
backup of the abandoned state can be compared with; it is counted as such.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import checkpoints, merkle
from .checkpoints import Checkpoint

GENESIS = "00" * 32
RESTORE = "restoreBackup"
EPOCH = re.compile(
    r"\S+ epoch (\d{1,9}) kept (\d{1,16}) ([0-9a-f]{64}) abandoned (\d{1,16}) ([0-9a-f]{64})\Z"
)
"""The object of the record that opens an epoch."""
RECORD_MEMBERS = frozenset(
    {
        "seq",
        "ts",
        "actor",
        "action",
        "object",
        "outcome",
        "request_id",
        "payload_digest",
        "prev_hash",
        "leaf_hash",
    }
)


class LogError(Exception):
    """What is wrong with a log, with the first bad line or record."""


@dataclass(slots=True, kw_only=True)
class Verified:
    """What a log that holds was found to contain."""

    size: int
    root: str
    checkpoint: Checkpoint
    anchors: int
    epoch: int
    abandoned: int
    """Kept checkpoints inside what a restore abandoned: to be compared with its backup."""


@dataclass(slots=True)
class _Walk:
    """The state of a walk over the records."""

    anchors: dict[int, list[Checkpoint]]
    tree: merkle.Frontier = field(default_factory=merkle.Frontier)
    previous: str = GENESIS
    epoch: int = 1
    abandoned: int = 0

    def add(self, number: int, record: dict[str, Any]) -> None:
        """Check one record and append its leaf."""
        expected = self.tree.size + 1
        if record.get("seq") != expected:
            raise LogError(f"line {number}: has seq {record.get('seq')!r}, expected {expected}")
        hashed = {name: value for name, value in record.items() if name != "leaf_hash"}
        if hashed["prev_hash"] != self.previous:
            raise LogError(f"record {expected} (line {number}): does not follow the one before it")
        if hashed["action"] == RESTORE and hashed["outcome"] == "done":
            self.open_epoch(expected, str(hashed["object"]))
        leaf = merkle.leaf_hash(checkpoints.canonical(hashed))
        if leaf.hex() != record["leaf_hash"]:
            raise LogError(f"record {expected} (line {number}): is not what its hash was made of")
        self.tree.add(leaf)
        self.previous = record["leaf_hash"]
        self.check_anchors()

    def open_epoch(self, seq: int, said: str) -> None:
        """Check what a restore says of itself, and the checkpoints of what it abandoned."""
        match = EPOCH.match(said)
        if match is None:
            raise LogError(f"record {seq}: a restore that does not say what it kept")
        epoch, kept, abandoned = int(match[1]), int(match[2]), int(match[4])
        if (epoch, kept, match[3]) != (self.epoch + 1, self.tree.size, self.tree.root().hex()):
            raise LogError(f"record {seq}: a restore that kept other records than it says")
        for size in [size for size in self.anchors if size > kept]:
            for anchor in [one for one in self.anchors[size] if one.epoch <= self.epoch]:
                wrong = size == abandoned and anchor.root != match[5]
                if wrong or size > abandoned:
                    raise LogError(
                        f"the {size} records of the checkpoint signed at {anchor.ts} are not those"
                        f" that record {seq} says were abandoned"
                    )
                self.abandoned += 1
                self.anchors[size].remove(anchor)
            if not self.anchors[size]:
                del self.anchors[size]
        self.epoch = epoch

    def check_anchors(self) -> None:
        """Compare the tree with the checkpoints of its present size."""
        for anchor in self.anchors.pop(self.tree.size, ()):
            if self.tree.root().hex() != anchor.root:
                raise LogError(
                    f"the first {anchor.size} records are not those of the checkpoint signed at"
                    f" {anchor.ts}: history was rewritten"
                )


def verify_log(path: Path, public_key: str, anchors: Sequence[Checkpoint] = ()) -> Verified:
    """Verify an exported log; `anchors` are checkpoints that were kept elsewhere.

    Raises LogError naming the first thing that is wrong, ValueError if the key is not a key.
    """
    for anchor in anchors:
        check_signature(anchor, public_key, f"the kept checkpoint of {anchor.ts}")
    by_size: dict[int, list[Checkpoint]] = {}
    for anchor in anchors:
        by_size.setdefault(anchor.size, []).append(anchor)
    walk = _Walk(by_size)
    walk.check_anchors()
    last: Checkpoint | None = None
    with path.open("rb") as file:
        for number, document in enumerate(lines(file), 1):
            if last is not None:
                raise LogError(f"line {number}: stands after the log's checkpoint")
            if set(document) == RECORD_MEMBERS:
                walk.add(number, document)
            else:
                last = _closing(number, document)
    if last is None:
        raise LogError("the log does not end with its checkpoint: it was cut short")
    check_closing(last, walk, public_key, max((anchor.epoch for anchor in anchors), default=0))
    return Verified(
        size=last.size,
        root=last.root,
        checkpoint=last,
        anchors=len(anchors) - walk.abandoned,
        epoch=walk.epoch,
        abandoned=walk.abandoned,
    )


def lines(file: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the document of each line; LogError for one that is not canonical JSON."""
    for number, line in enumerate(file, 1):
        try:
            document = json.loads(line)
            same = isinstance(document, dict) and checkpoints.canonical(document) + b"\n" == line
        except (ValueError, RecursionError):
            same = False
        if not same:
            raise LogError(f"line {number}: is not canonical JSON followed by a newline")
        yield document


def _closing(number: int, document: dict[str, Any]) -> Checkpoint:
    found = checkpoints.parse(document.get("checkpoint"))
    if found is None or document != {"checkpoint": found.document()}:
        raise LogError(f"line {number}: is neither a record nor the checkpoint")
    return found


def check_signature(checkpoint: Checkpoint, public_key: str, what: str) -> None:
    """Refuse a checkpoint that the key did not sign."""
    if not checkpoints.is_signed(checkpoint, public_key):
        raise LogError(f"{what}: the signature does not belong to it and to the key")


def check_closing(last: Checkpoint, walk: _Walk, public_key: str, epoch: int) -> None:
    """Compare the log's own checkpoint with its records, and those with the kept checkpoints."""
    check_signature(last, public_key, "the log's checkpoint")
    if walk.tree.size != last.size:
        raise LogError(f"the log has {walk.tree.size} records, its checkpoint says {last.size}")
    if walk.tree.root().hex() != last.root:
        raise LogError("the records are not those that the log's checkpoint was signed over")
    if walk.anchors:
        size = min(walk.anchors)
        raise LogError(
            f"the log has {last.size} records, a kept checkpoint was signed over {size}:"
            " it was cut behind that checkpoint"
        )
    if last.epoch != walk.epoch:
        raise LogError(f"its checkpoint is of epoch {last.epoch}, its records lead to {walk.epoch}")
    if last.epoch < epoch:
        raise LogError(f"the log is of epoch {last.epoch}, a kept checkpoint of {epoch}")


def verify_answer(
    answer: dict[str, Any],
    public_key: str,
    *,
    record: dict[str, Any] | None = None,
    older: Checkpoint | None = None,
) -> Checkpoint:
    """Verify an answer of GET /v1/audit/checkpoint and the proofs asked for.

    `record` must be included, and `older` continued, by the answered checkpoint. Raises LogError.
    """
    found = checkpoints.parse(answer)
    if found is None:
        raise LogError("the answer is not a checkpoint")
    check_signature(found, public_key, "the checkpoint")
    if record is not None:
        _check_inclusion(found, record, _steps(answer, "inclusion"))
    if older is not None:
        check_signature(older, public_key, "the older checkpoint")
        steps = _steps(answer, "consistency")
        old, new = (older.size, bytes.fromhex(older.root)), (found.size, bytes.fromhex(found.root))
        if not merkle.proves_consistency(old, new, steps):
            raise LogError(
                f"the {found.size} records do not continue the {older.size} of the older"
                " checkpoint: history was rewritten or cut"
            )
    return found


def _check_inclusion(found: Checkpoint, record: dict[str, Any], steps: list[bytes]) -> None:
    hashed = {name: value for name, value in record.items() if name != "leaf_hash"}
    leaf, seq = merkle.leaf_hash(checkpoints.canonical(hashed)), record.get("seq")
    top = bytes.fromhex(found.root)
    if not isinstance(seq, int) or not merkle.proves_inclusion(
        leaf, seq - 1, steps, size=found.size, top=top
    ):
        raise LogError(f"record {seq} is not in the tree of the checkpoint")


def _steps(answer: dict[str, Any], name: str) -> list[bytes]:
    try:
        return [bytes.fromhex(step) for step in answer[name]]
    except (KeyError, TypeError, ValueError):
        raise LogError(f"the answer has no {name} proof") from None
