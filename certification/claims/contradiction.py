"""What a rule finds: a statement that does not follow, with what does."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fractions import Fraction


class Rule(Enum):
    """The ways in which a document can contradict itself or another; closed."""

    WEIGHTED_TOTAL = "weighted_total"
    """A stated total is not the weighted sum of its rows."""
    TARGETS_MET = "targets_met"
    """All targets, or a share of them, are said to be met; the rows give another share."""
    MEAN = "mean"
    """A stated mean is not the mean of its rows."""
    COMPLETE = "complete"
    """Something is said to be complete beside a percentage of it below 100."""
    TWO_VALUES = "two_values"
    """One quantity has two values in one document."""
    TWO_NAMES = "two_names"
    """One figure is said to measure two things."""
    PERCENT = "percent"
    """A stated percentage change does not follow from the two numbers beside it."""
    WORSE_AFTER = "worse_after"
    """A document that states an improvement reports worse than an earlier one measured."""
    TARGET_MISSED = "target_missed"
    """A target that an earlier document set is missed by what a later one reports."""
    TARGET_ALREADY_MET = "target_already_met"
    """A target set as an improvement was met before the work began."""
    PROMISED_CHANGE = "promised_change"
    """Reaching a target would not be the change over the baseline that is promised with it."""
    RECORDED_RESULT = "recorded_result"
    """A result states what its evidence does not give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """One finding; the texts are plain and come from the documents' own labels."""

    rule: Rule
    subject: str
    """The quantity, table or label it is about."""
    documents: tuple[str, ...]
    where: tuple[str, ...]
    """Sections, in the order in which the message mentions them."""
    stated: str
    recomputed: str
    note: str = ""

    @property
    def message(self) -> str:
        """One line: what is stated, what follows instead."""
        text = f"{self.subject}: stated {self.stated}; recomputed {self.recomputed}"
        return f"{text} ({self.note})" if self.note else text


def places(value: Fraction, count: int) -> str:
    """Write a fraction with `count` decimals, rounded half away from zero, without floats."""
    scaled = abs(value) * 10**count
    units = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    whole, rest = divmod(units, 10**count)
    sign = "-" if value < 0 and units else ""
    return f"{sign}{whole}.{rest:0{count}}" if count else f"{sign}{whole}"


def trimmed(value: Fraction, count: int = 4) -> str:
    """Write a fraction with up to `count` decimals and no zeros at the end."""
    text = places(value, count)
    return text.rstrip("0").rstrip(".") if "." in text else text
