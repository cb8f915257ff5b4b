"""Views of a judged run: one view model, one module per format, one call that writes them."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from certification.errors import HarnessError, UsageError
from certification.evidence import iter_exchanges
from certification.report import csv, html, json, junit, markdown, sarif
from certification.report.build import Remedies, build_view
from certification.report.exchanges import shown_exchanges, wanted_cases, wants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from certification.judge import Judgement
    from certification.report.view import ReportView

__all__ = ["FORMATS", "render", "report_view", "write_reports"]

_RENDER: Final[dict[str, tuple[str, Callable[[ReportView], str]]]] = {
    "json": ("result.json", json.render),
    "html": ("report.html", html.render),
    "junit": ("junit.xml", junit.render),
    "sarif": ("findings.sarif", sarif.render),
    "csv": ("results.csv", csv.render),
    "markdown": ("summary.md", markdown.render),
}
FORMATS: Final = tuple(_RENDER)
"""Names of the formats, in the order they are written."""


def report_view(
    judgement: Judgement, evidence_path: Path | None, *, remedies: Remedies | None = None
) -> ReportView:
    """Return the view of a judged run with the exchanges of what failed or stayed undecided.

    `evidence_path` is the file that was judged; it is read a second time, streaming. With None the
    view has no exchanges. Raises EvidenceError for a file that cannot be read.
    """
    shown = None
    if evidence_path is not None:
        wanted = wanted_cases(judgement.score.checks)
        exchanges = iter_exchanges(evidence_path, wants(wanted)) if wanted else ()
        shown = shown_exchanges(wanted, exchanges)
    return build_view(judgement, shown=shown, remedies=remedies)


def render(view: ReportView, name: str) -> str:
    """Return the report in the format `name`; raises UsageError for an unknown one."""
    if name not in _RENDER:
        raise UsageError(
            f"report format {name!r} is not known", hint=f"choose from {', '.join(FORMATS)}"
        )
    return _RENDER[name][1](view)


def write_reports(
    judgement: Judgement,
    evidence_path: Path | None,
    out_dir: Path,
    *,
    remedies: Remedies | None = None,
    formats: Iterable[str] = FORMATS,
) -> tuple[Path, ...]:
    """Write the reports of a judged run into `out_dir` and return their paths, `result.json` first.

    Every format prints the same view. Each file appears whole or not at all. Raises UsageError for
    an unknown format before anything is written, HarnessError where the disk refuses.
    """
    chosen = set(formats)
    unknown = sorted(chosen - set(FORMATS))
    if unknown:
        raise UsageError(
            f"report format {unknown[0]!r} is not known", hint=f"choose from {', '.join(FORMATS)}"
        )
    view = report_view(judgement, evidence_path, remedies=remedies)
    written: list[Path] = []
    for name in FORMATS:
        if name in chosen:
            path = out_dir / _RENDER[name][0]
            _write_whole(path, render(view, name))
            written.append(path)
    return tuple(written)


def _write_whole(path: Path, text: str) -> None:
    """Write a file beside its place and move it there, so that no reader sees half of it."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as sink:
            # Whatever text survived as a lone surrogate must not cost the whole report.
            sink.write(text.encode("utf-8", errors="backslashreplace"))
            sink.flush()
            os.fsync(sink.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise HarnessError(
            f"{path}: cannot be written: {error.strerror}",
            hint="free some space and run `certify report` on the evidence file",
        ) from error
