"""What changed between two judged runs: checks by id, scores by category, the level."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from certification.errors import UsageError
from certification.model import Json, Outcome
from certification.report.text import counted, interval_text, one_line, signed_text
from certification.results import (
    INCONCLUSIVE_LEVEL,
    NOT_SELECTED,
    CheckResult,
    Interval,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction

    from certification.judge import Judgement

COMPARISON_FORMAT: Final = "certification-comparison/1"


class Change(Enum):
    """What happened to a check; closed, and each check has at most one."""

    NEWLY_FAILING = "newly failing"
    NEW_FAILING = "new and failing"
    NEWLY_UNDECIDED = "newly undecided"
    NEWLY_NOT_EXERCISED = "newly not exercised"
    VANISHED = "vanished"
    FIXED = "fixed"
    NEWLY_PASSING = "newly passing"
    NEW = "new"

    @property
    def worse(self) -> bool:
        """Whether something broke, or is no longer known."""
        return self in _WORSE


_WORSE: Final = frozenset(
    {
        Change.NEWLY_FAILING,
        Change.NEW_FAILING,
        Change.NEWLY_UNDECIDED,
        Change.NEWLY_NOT_EXERCISED,
        Change.VANISHED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedCheck:
    """A check that is not what it was."""

    check: str
    change: Change
    title: str
    before: Outcome | None
    """None where the baseline did not have the check."""
    after: Outcome | None
    """None where the new run does not have it."""
    reason: str
    redefined: bool
    """Whether the check's own version differs, so that the change may be the check's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreChange:
    """A score before and after."""

    name: str
    """`total` or a category."""
    before: Interval | None
    after: Interval | None

    @property
    def gain(self) -> Fraction | None:
        """Rise of the lower end, the end that gates use; None where one side is missing."""
        if self.before is None or self.after is None:
            return None
        return self.after.lower - self.before.lower


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that changed; performance figures are not compared here."""

    baseline_run: str
    run: str
    level_before: str
    level_after: str
    changes: tuple[ChangedCheck, ...]
    """Worst kind of change first, then by check id."""
    unchanged: int
    not_compared: int
    """Checks that a partial new run left out by selection."""
    scores: tuple[ScoreChange, ...]
    """The total first."""
    remarks: tuple[str, ...]

    @property
    def worse(self) -> bool:
        """Whether anything broke or is no longer known."""
        return any(change.change.worse for change in self.changes)

    def of(self, change: Change) -> tuple[ChangedCheck, ...]:
        """Return the checks with this change."""
        return tuple(row for row in self.changes if row.change is change)


def compare(old: Judgement, new: Judgement, *, any_profile: bool = False) -> Comparison:
    """Compare `new` with the baseline `old`.

    Raises UsageError where `old` cannot be a baseline (its verdict did not hold, or it is partial
    or reported), and where the profiles differ in name, version or content unless `any_profile`.
    """
    _refuse_baseline(old)
    remarks = _profile_remarks(old, new, any_profile=any_profile)
    before = {str(check.check.id): check for check in old.score.checks}
    after = {
        str(check.check.id): check
        for check in new.score.checks
        if check.check.fixed_reason != NOT_SELECTED
    }
    left_out = len(new.score.checks) - len(after)
    partial = new.run.header.selection is not None
    ids = sorted(after if partial else before.keys() | after.keys())
    changed = [row for check in ids if (row := _change(check, before, after)) is not None]
    order = list(Change)
    return Comparison(
        baseline_run=old.run.header.run_id,
        run=new.run.header.run_id,
        level_before=old.verdict.level,
        level_after=new.verdict.level,
        changes=tuple(sorted(changed, key=lambda row: (order.index(row.change), row.check))),
        unchanged=len(ids) - len(changed),
        not_compared=left_out,
        scores=_score_changes(old, new),
        remarks=remarks,
    )


def _refuse_baseline(old: Judgement) -> None:
    """Raise UsageError for a run that nothing can be measured against."""
    run, verdict = old.run, old.verdict
    name = f"baseline {one_line(run.header.run_id)}"
    hint = "choose the evidence of a whole run whose verdict held"
    if run.header.source != "observed":
        raise UsageError(f"{name}: its figures were reported, not observed", hint=hint)
    if run.header.selection is not None:
        raise UsageError(
            f"{name}: only a part was run ({one_line(run.header.selection)})", hint=hint
        )
    if verdict.level == INCONCLUSIVE_LEVEL or run.footer is None:
        reason = verdict.inconclusive[0] if verdict.inconclusive else "it has no footer"
        raise UsageError(f"{name}: its verdict did not hold: {one_line(reason)}", hint=hint)


def _profile_remarks(old: Judgement, new: Judgement, *, any_profile: bool) -> tuple[str, ...]:
    """Return what differs in the rules; raises UsageError unless that is wanted."""
    first, second = old.profile, new.profile
    remarks: list[str] = []
    if first.sha256 != second.sha256:
        names = f"{first.name} {first.version}", f"{second.name} {second.version}"
        words = f"profile {names[0]} before, {names[1]} now"
        if names[0] == names[1]:
            words = f"profile {names[0]}, but with other content ({first.sha256[:12]} before)"
        if not any_profile:
            raise UsageError(
                f"the runs were judged by different rules: {words}",
                hint="judge both under one profile, or add --any-profile to compare all the same",
            )
        remarks.append(words)
    contracts = old.run.header.contract_sha256, new.run.header.contract_sha256
    if contracts[0] != contracts[1]:
        remarks.append("the contract changed between the runs")
    if new.verdict.level == INCONCLUSIVE_LEVEL:
        remarks.append("the new run carries no verdict; what it decided is compared all the same")
    return tuple(remarks)


def _change(
    check: str, before: Mapping[str, CheckResult], after: Mapping[str, CheckResult]
) -> ChangedCheck | None:
    """Return what happened to one check, or None where its outcome says the same as before."""
    old, new = before.get(check), after.get(check)
    kind = _kind(old.outcome if old else None, new.outcome if new else None)
    shown = new or old
    if kind is None or shown is None:
        return None
    failed = shown.outcome is Outcome.FAIL
    return ChangedCheck(
        check=check,
        change=kind,
        title=shown.check.failure_title if failed else shown.check.title,
        before=old.outcome if old else None,
        after=new.outcome if new else None,
        reason=(new.reason or "") if new else "",
        redefined=old is not None and new is not None and old.check.version != new.check.version,
    )


def _kind(old: Outcome | None, new: Outcome | None) -> Change | None:
    """Return the change from one outcome to another."""
    if new is None:
        return Change.VANISHED
    if old is None:
        return Change.NEW_FAILING if new is Outcome.FAIL else Change.NEW
    if new.decided:
        return _decided(old, new)
    if not old.decided:
        return None
    broken = new in (Outcome.INCONCLUSIVE, Outcome.ERROR)
    return Change.NEWLY_UNDECIDED if broken else Change.NEWLY_NOT_EXERCISED


def _decided(old: Outcome, new: Outcome) -> Change | None:
    """Return the change to PASS or FAIL."""
    if old is new:
        return None
    if new is Outcome.FAIL:
        return Change.NEWLY_FAILING
    return Change.FIXED if old is Outcome.FAIL else Change.NEWLY_PASSING


def _score_changes(old: Judgement, new: Judgement) -> tuple[ScoreChange, ...]:
    """Return the total and each category of either run."""
    first = {row.category.value: row.interval for row in old.score.categories}
    second = {row.category.value: row.interval for row in new.score.categories}
    names = [*first, *(name for name in second if name not in first)]
    total = ScoreChange(name="total", before=old.score.total, after=new.score.total)
    rows = (
        ScoreChange(name=name, before=first.get(name), after=second.get(name)) for name in names
    )
    return (total, *rows)


def comparison_text(comparison: Comparison) -> str:
    """Return the comparison for a terminal; no line of it can be forged by a target."""
    lines = [
        f"{one_line(comparison.baseline_run)} -> {one_line(comparison.run)}",
        f"level  {one_line(comparison.level_before)} -> {one_line(comparison.level_after)}",
    ]
    lines += [f"note   {one_line(remark)}" for remark in comparison.remarks]
    lines.append("")
    width = max((len(row.name) for row in comparison.scores), default=0)
    lines += [_score_line(row, width) for row in comparison.scores]
    for kind in Change:
        rows = comparison.of(kind)
        if rows:
            lines += ["", f"{kind.value} ({len(rows)})", *map(_check_line, rows)]
    summary = f"{counted(comparison.unchanged, 'check')} unchanged"
    if comparison.not_compared:
        summary += f", {comparison.not_compared:,} not selected in the new run"
    return "\n".join([*lines, "", summary, "worse" if comparison.worse else "not worse"])


def _score_line(row: ScoreChange, width: int) -> str:
    """Return one score before and after."""
    before = interval_text(row.before) if row.before else "absent"
    after = interval_text(row.after) if row.after else "absent"
    gain = row.gain
    difference = f"  {signed_text(gain)}" if gain else ""
    return f"{row.name:<{width}}  {before} -> {after}{difference}"


def _check_line(row: ChangedCheck) -> str:
    """Return one changed check with its reason."""
    words = [f"  {one_line(row.check)}: {one_line(row.title)}"]
    if row.before and row.after:
        words.append(f"{row.before.value} -> {row.after.value}")
    if row.redefined:
        words.append("the check itself changed")
    if row.reason:
        words.append(one_line(row.reason)[:200])
    return "; ".join(words)


def comparison_json(comparison: Comparison) -> str:
    """Return the comparison as JSON; fractions as exact text."""
    document: Json = {
        "schema": COMPARISON_FORMAT,
        "baseline_run": comparison.baseline_run,
        "run": comparison.run,
        "worse": comparison.worse,
        "level": {"before": comparison.level_before, "after": comparison.level_after},
        "remarks": list(comparison.remarks),
        "unchanged": comparison.unchanged,
        "not_compared": comparison.not_compared,
        "scores": [
            {
                "name": row.name,
                "before": _interval_json(row.before),
                "after": _interval_json(row.after),
                "gain": None if row.gain is None else str(row.gain),
            }
            for row in comparison.scores
        ],
        "changes": [
            {
                "check": row.check,
                "change": row.change.value.replace(" ", "_"),
                "worse": row.change.worse,
                "title": row.title,
                "before": row.before.value if row.before else None,
                "after": row.after.value if row.after else None,
                "reason": row.reason,
                "redefined": row.redefined,
            }
            for row in comparison.changes
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=True)


def _interval_json(interval: Interval | None) -> Json | None:
    """Return an interval with exact ends."""
    if interval is None:
        return None
    return {
        "lower": str(interval.lower),
        "upper": str(interval.upper),
        "text": interval_text(interval),
    }
