"""The headline of a verdict, in words, and the lines on its scale."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from certification.model import OUTCOME_RANK, Severity
from certification.profile_gates import GateKind
from certification.report.text import (
    counted,
    interval_text,
    percent_text,
    score_text,
)
from certification.report.view import Headline, IntervalView, Threshold, Tone
from certification.results import INCONCLUSIVE_LEVEL, Interval, RecordedRun, Verdict

if TYPE_CHECKING:
    from fractions import Fraction

    from certification.judge import Judgement
    from certification.profile import Profile


def interval_view(interval: Interval) -> IntervalView:
    """Return an interval with its printed form."""
    return IntervalView(lower=interval.lower, upper=interval.upper, text=interval_text(interval))


def headline(judgement: Judgement) -> Headline:
    """Return what is read first: level, interval, and everything that qualifies them."""
    run, score, verdict = judgement.run, judgement.score, judgement.verdict
    marks = _marks(judgement)
    total = interval_view(score.total)
    qualified = f" ({', '.join(marks)})" if marks else ""
    counts = Counter(check.outcome for check in score.checks)
    worst_first = sorted(counts, key=lambda outcome: -OUTCOME_RANK[outcome])
    return Headline(
        title=f"{verdict.level} {total.text}{qualified}",
        level=verdict.level,
        requested_level=verdict.requested_level,
        reached=verdict.reached,
        sentence=_sentence(run, verdict),
        tone=_tone(verdict),
        total=total,
        coverage=score.coverage,
        score_line=f"{total.text}, {percent_text(score.coverage)} decided",
        marks=marks,
        reference=verdict.reference,
        reference_line=_reference_line(verdict),
        vetoes=tuple((veto.value.replace("_", " "), check) for veto, check in verdict.vetoes),
        inconclusive=verdict.inconclusive,
        waiver_faults=verdict.waiver_faults,
        not_certifiable=verdict.not_certifiable,
        exit_code=verdict.exit_code,
        pass_rate=percent_text(score.pass_rate),
        counts=tuple((outcome.value, counts[outcome]) for outcome in worst_first),
        defects=tuple((severity.value, score.defects.get(severity, 0)) for severity in Severity),
    )


def _marks(judgement: Judgement) -> tuple[str, ...]:
    """Return the words that must stand beside the level."""
    run, header = judgement.run, judgement.run.header
    marks: list[str] = []
    if header.selection is not None:
        marks.append("partial")
    if header.source == "reported":
        marks.append("reported, not observed")
    if header.waivers:
        marks.append("waived")
    if run.footer is None:
        marks.append("cut short")
    elif run.footer.ended != "completed":
        marks.append(run.footer.ended.replace("_", " "))
    if judgement.profile.sha256 != header.profile_sha256:
        marks.append("scored again under another profile")
    return tuple(marks)


def _tone(verdict: Verdict) -> Tone:
    """Return the colour of the verdict."""
    if verdict.level == INCONCLUSIVE_LEVEL:
        return Tone.UNKNOWN
    return Tone.GOOD if verdict.reached else Tone.BAD


def _sentence(run: RecordedRun, verdict: Verdict) -> str:
    """Return whether the requested level was reached, and of what."""
    wanted = verdict.requested_level
    if verdict.level == INCONCLUSIVE_LEVEL:
        return f"The run cannot carry a verdict. {wanted} was requested."
    if verdict.reached and verdict.level != wanted:
        words = f"{wanted} was requested; {verdict.level} was reached."
    elif verdict.reached:
        words = f"{wanted} was requested and reached."
    else:
        words = f"{wanted} was requested and not reached."
    if run.header.selection is not None:
        words += f" Only a part was run: {run.header.selection}."
    return words


def _reference_line(verdict: Verdict) -> str:
    """Return how the lower end stands to the reference figure, or nothing without one."""
    if verdict.reference is None or verdict.beats_reference is None:
        return ""
    words = "beats" if verdict.beats_reference else "does not beat"
    return f"{words} the reference {threshold_text(verdict.reference)}"


def threshold_text(value: Fraction) -> str:
    """Return a threshold with as many decimals as it has, at least two and at most six."""
    for places in range(2, 6):
        if (value * 10**places).denominator == 1:
            return score_text(value, places)
    return score_text(value, 6)


def thresholds(profile: Profile) -> tuple[Threshold, ...]:
    """Return the lower bounds that the profile's levels put on the total, lowest first."""
    found = [
        Threshold(label=level.name, value=gate.value, strict=gate.op == ">")
        for level in profile.levels
        for gate in level.gates
        if gate.kind is GateKind.TOTAL
    ]
    return tuple(sorted(found, key=lambda line: line.value))


def counts_line(view: Headline) -> str:
    """Return the outcomes in one line: `3 FAIL, 1 ERROR, 46 PASS`."""
    total = sum(number for _, number in view.counts)
    parts = ", ".join(f"{number:,} {outcome}" for outcome, number in view.counts)
    return f"{counted(total, 'check')}: {parts}" if parts else "no checks"
