"""`report.html`: one file that reads itself, prints well, and loads nothing."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from certification import shipped
from certification.model import Outcome, Severity
from certification.report.build import outcome_order
from certification.report.headline import counts_line, threshold_text
from certification.report.scale import bar, draw_scale
from certification.report.text import (
    counted,
    duration_text,
    percent_text,
    score_text,
    shortened,
    visible,
)

if TYPE_CHECKING:
    from certification.report.view import CheckView, ReportView

_SPENT_CHARACTERS: Final = 100
CASES_SHOWN: Final = 5
"""Cases with details per check; the others are counted."""
DETAIL_CHARACTERS: Final = 600_000
"""What reasons, findings and explanations may take together once escaped; worst checks first."""


def render(view: ReportView) -> str:
    """Return the report as one HTML document.

    Every expression of the templates passes `_shown` and then autoescaping; a content security
    policy with the digests of the two inline blocks refuses whatever else might run.
    """
    environment = _environment()
    style, script = _block("report.css"), _block("report.js")
    return environment.get_template("report.html.j2").render(
        view=view,
        head=view.headline,
        facts=view.facts,
        style=Markup(style),  # noqa: S704  - our own file, not data
        script=Markup(script),  # noqa: S704  - our own file, not data
        policy=_policy(style, script),
        scale=draw_scale(view),
        checks=sorted(view.checks, key=_check_order),
        severities=[severity.value for severity in Severity],
        outcomes=_present_outcomes(view),
        cases_shown=CASES_SHOWN,
        allowance=_Allowance(left=DETAIL_CHARACTERS),
    )


@dataclass(slots=True, kw_only=True)
class _Allowance:
    """Characters that details may still take, so that no run can swell its report."""

    left: int

    def brief(self, text: str, limit: int = 2_000) -> str:
        """Return `text`, shortened to `limit` characters, or to few once nothing is left."""
        shown = shortened(text, limit if self.left > 0 else _SPENT_CHARACTERS)
        self.left -= len(escape(shown))
        return shown


@cache
def _environment() -> Environment:
    """Return the template environment; strict: a misspelt name is an error and not a blank."""
    environment = Environment(
        loader=FileSystemLoader(shipped.path("reports/templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
        auto_reload=False,
    )
    environment.filters.update(
        score=score_text,
        percent=percent_text,
        threshold=threshold_text,
        duration=duration_text,
        counts=counts_line,
        label=_label,
        bar=bar,
    )
    environment.globals.update(counted=counted)
    return environment


def _shown(value: Any) -> Any:
    """Spell out hidden and direction-changing characters in everything a template prints."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return value


def _label(name: str) -> str:
    """Return `NOT_EXERCISED` as `not exercised`."""
    return name.replace("_", " ").lower()


def _block(name: str) -> str:
    """Return an inline block; neither may contain what would end its element."""
    return (shipped.path("reports/templates") / name).read_text(encoding="utf-8").strip()


def _policy(style: str, script: str) -> str:
    """Return the content security policy: nothing but these two blocks and data images."""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(block: str) -> str:
    """Return the digest by which a browser knows an inline block."""
    return "sha256-" + base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()


def _check_order(check: CheckView) -> tuple[int, int, str]:
    """Return the order of the list: worst outcome, then severity, then id."""
    severities = [severity.value for severity in Severity]
    return outcome_order(check.outcome), severities.index(check.severity), check.id


def _present_outcomes(view: ReportView) -> list[tuple[str, int]]:
    """Return outcomes with their numbers, worst first, without zeros."""
    known = {outcome.value for outcome in Outcome}
    return [(outcome, number) for outcome, number in view.headline.counts if outcome in known]
