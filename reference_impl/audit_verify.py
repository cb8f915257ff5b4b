"""Verifying an exported audit log offline: with the file and the public key, and nothing else.

A log is JSON lines in their one canonical spelling: the records from seq 1 on, then a signed
checkpoint over all of them. Checked are the spelling of every line, the chain of hashes, the
Merkle root and the signature; with further checkpoints, kept elsewhere, also that the log still
begins with the very records they were signed over.

A restore leaves a record that opens an epoch and names how many records were kept and how many
abandoned, with their roots. What it says is checked too: a kept checkpoint of an older epoch either
lies in what was kept, or has the very root that was abandoned, or is one of those that only the
backup of the abandoned state can be compared with; it is counted as such.

A book that was lost and made again of a backup cannot say what is missing: its record says 0. The
kept checkpoints of what was lost can be compared with nothing, and somebody who cuts records off
could write just that. So they verify only if the verifier knows of the loss and names the record.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
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
LOST = (0, GENESIS)
"""What a restore says to have abandoned where the book was lost: it is not known."""
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


class UnknownLossError(LogError):
    """A log that holds, with kept checkpoints that it cannot be compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A restore of a lost book: what came after the `kept` records is not known to it."""

    seq: int
    kept: int
    anchors: tuple[Checkpoint, ...]
    """The kept checkpoints of more records than that."""


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
    losses: Sequence[Loss]
    """Restores that did not know what they abandoned, the oldest first."""


@dataclass(slots=True)
class _Walk:
    """The state of a walk over the records."""

    anchors: dict[int, list[Checkpoint]]
    tree: merkle.Frontier = field(default_factory=merkle.Frontier)
    previous: str = GENESIS
    epoch: int = 1
    abandoned: int = 0
    losses: list[Loss] = field(default_factory=list)
    later: list[Checkpoint] = field(default_factory=list)
    """Checkpoints of a later epoch than the records of their size: an epoch that has ended, too."""

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
        if (kept, match[3]) != (self.tree.size, self.tree.root().hex()) or epoch <= self.epoch:
            raise LogError(f"record {seq}: a restore that kept other records than it says")
        ended = self.take_ended(kept, epoch)
        if (abandoned, match[5]) == LOST:
            self.losses.append(Loss(seq=seq, kept=kept, anchors=tuple(ended)))
        else:
            for anchor in ended:
                wrong = anchor.size == abandoned and anchor.root != match[5]
                if wrong or anchor.size > abandoned:
                    raise LogError(
                        f"the {anchor.size} records of the checkpoint signed at {anchor.ts} are"
                        f" not those that record {seq} says were abandoned"
                    )
            self.abandoned += len(ended)
        self.epoch = epoch

    def take_ended(self, kept: int, epoch: int) -> list[Checkpoint]:
        """Take out the checkpoints of older epochs that reach beyond the `kept` records.

        A restore may bring back a state of an epoch before the last one: those between are over.
        """
        found = [one for one in self.later if one.epoch < epoch]
        self.later = [one for one in self.later if one.epoch >= epoch]
        for size in [size for size in self.anchors if size > kept]:
            found += [one for one in self.anchors[size] if one.epoch < epoch]
            self.anchors[size] = [one for one in self.anchors[size] if one.epoch >= epoch]
            if not self.anchors[size]:
                del self.anchors[size]
        return sorted(found, key=lambda one: one.size)

    def check_anchors(self) -> None:
        """Compare the tree with the checkpoints of its present size."""
        for anchor in self.anchors.pop(self.tree.size, ()):
            if anchor.epoch > self.epoch:
                self.later.append(anchor)
            elif self.tree.root().hex() != anchor.root:
                raise rewritten(anchor)


def rewritten(anchor: Checkpoint) -> LogError:
    """Return what is wrong where other records stand than those of a kept checkpoint."""
    return LogError(
        f"the first {anchor.size} records are not those of the checkpoint signed at {anchor.ts}:"
        " history was rewritten"
    )


def verify_log(
    path: Path,
    public_key: str,
    anchors: Sequence[Checkpoint] = (),
    *,
    known_losses: Collection[int] = (),
) -> Verified:
    """Verify an exported log; `anchors` are checkpoints that were kept elsewhere.

    `known_losses` are numbers of records by which a lost book was made again. Raises LogError
    naming the first thing that is wrong, UnknownLossError if all holds but a kept checkpoint is of
    what was lost at a record that is not among these, ValueError if the key is not a key.
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
    check_losses(walk.losses, known_losses)
    lost = sum(len(loss.anchors) for loss in walk.losses)
    return Verified(
        size=last.size,
        root=last.root,
        checkpoint=last,
        anchors=len(anchors) - walk.abandoned - lost,
        epoch=walk.epoch,
        abandoned=walk.abandoned,
        losses=walk.losses,
    )


def check_losses(losses: Sequence[Loss], known: Collection[int]) -> None:
    """Compare the losses that the log tells of with those that the verifier knows of."""
    if strange := sorted(set(known) - {loss.seq for loss in losses}):
        raise LogError(f"record {strange[0]} is not the restore of a lost book")
    for loss in losses:
        if loss.anchors and loss.seq not in known:
            newest = loss.anchors[-1]
            raise UnknownLossError(
                f"the log holds, but record {loss.seq} says that the book was lost and made again"
                f" with what came up to record {loss.kept}: the records {loss.kept + 1} to"
                f" {newest.size} of the checkpoint signed at {newest.ts} are gone, and it cannot be"
                " compared with anything. If you know of that loss, name it: --known-loss"
                f" {loss.seq}; if you do not, records were cut off"
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
    if walk.later:
        raise rewritten(walk.later[0])
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
