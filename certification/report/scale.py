"""Geometry of the score scale and of the interval bars; numbers only, drawn by the templates."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from certification.report.headline import threshold_text

if TYPE_CHECKING:
    from certification.report.view import IntervalView, ReportView

WIDTH: Final = 1000
_CHARACTER: Final = 8.0
"""Width of a character of a label, a little generously, so that labels never touch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A line on the scale with its label."""

    x: float
    label: str
    row: int
    """Which row of labels, 0 nearest to the bar."""
    anchor: str
    """`start` or `end`: on which side of the line the label stands."""
    text_x: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The score scale, left end `origin`, right end 1."""

    origin: str
    lower_x: float
    upper_x: float
    ticks: tuple[tuple[float, str], ...]
    marks: tuple[Mark, ...]
    reference: Mark | None
    rows: int


def draw_scale(view: ReportView) -> Scale:
    """Return where everything stands; the left end is zoomed to where something is to be seen."""
    head = view.headline
    values = [head.total.lower, *(line.value for line in view.thresholds)]
    origin = min((Fraction(int(min(values) * 10), 10), Fraction(1, 2)))

    def place(value: Fraction) -> float:
        share = (max(value, origin) - origin) / (1 - origin)
        return round(float(min(share, Fraction(1)) * WIDTH), 1)

    marks = _without_overlap(
        [
            (
                place(line.value),
                f"{line.label} {'>' if line.strict else '≥'} {threshold_text(line.value)}",
            )
            for line in view.thresholds
        ]
    )
    reference = None
    if head.reference is not None:
        x = place(head.reference)
        label = f"reference {threshold_text(head.reference)}"
        reference = Mark(x=x, label=label, row=0, anchor="end", text_x=x - 6)
    steps = [Fraction(n, 10) for n in range(int(origin * 10), 11)]
    return Scale(
        origin=threshold_text(origin),
        lower_x=place(head.total.lower),
        upper_x=place(head.total.upper),
        ticks=tuple((place(step), f"{float(step):.1f}") for step in steps),
        marks=marks,
        reference=reference,
        rows=1 + max((mark.row for mark in marks), default=-1),
    )


def _without_overlap(lines: list[tuple[float, str]]) -> tuple[Mark, ...]:
    """Return marks whose labels end at their line, each in the lowest row that is free.

    A label crosses no line of a higher row, because rows rise from left to right where they must.
    """
    ends: list[float] = []
    marks: list[Mark] = []
    for x, label in lines:
        width = len(label) * _CHARACTER + 12
        anchor = "end" if x >= width else "start"
        left = x - width if anchor == "end" else x
        right = x if anchor == "end" else x + width
        row = next((n for n, end in enumerate(ends) if end <= left), len(ends))
        ends[row : row + 1] = [right]
        text_x = x - 6 if anchor == "end" else x + 6
        marks.append(Mark(x=x, label=label, row=row, anchor=anchor, text_x=text_x))
    return tuple(marks)


def bar(interval: IntervalView, floor: Fraction | None = None) -> Markup:
    """Return a small bar from 0 to 1: solid up to the lower end, hatched up to the upper one."""
    low, high = round(float(interval.lower) * 100, 2), round(float(interval.upper) * 100, 2)
    parts = [
        '<svg class="bar" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">',
        '<rect class="track" width="100" y="2" height="8"/>',
        f'<rect class="unknown" x="{low}" width="{max(high - low, 0):.2f}" y="2" height="8"/>',
        f'<rect class="sure" width="{low}" y="2" height="8"/>',
    ]
    if floor is not None:
        x = float(floor) * 100 - 0.3
        parts.append(f'<rect class="floor" x="{x:.2f}" width=".6" height="12"/>')
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704  - numbers only
