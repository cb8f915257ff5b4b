"""What a person sees while a run goes on: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Protocol, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from certification.model import CaseResult, Outcome

COLOURS = {
    Outcome.PASS: "green",
    Outcome.FAIL: "bold red",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.NOT_EXERCISED: "dim",
    Outcome.NOT_APPLICABLE: "dim",
    Outcome.ERROR: "magenta",
}


class Display(Protocol):
    """What the runner tells while it works."""

    def note(self, text: str) -> None:
        """Say one thing that is not about a single check."""

    def phase(self, name: str, planned: int) -> None:
        """Say that a phase begins with so many checks."""

    def case(self, result: CaseResult) -> None:
        """Say what one case came to."""

    def close(self) -> None:
        """End the display."""


class Silent:
    """Says nothing: `--quiet`, and inside `certify prove`."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def phase(self, name: str, planned: int) -> None:
        """Say nothing."""

    def case(self, result: CaseResult) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Do nothing."""


class Plain:
    """A line each, for logs of CI systems; passed cases only as a count at their phase's end."""

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        self._stream = stream
        self._phase = ""
        self._passed = 0

    def _line(self, text: str) -> None:
        self._stream.write(f"{printable(text)}\n")
        self._stream.flush()

    def note(self, text: str) -> None:
        """Write a line."""
        self._line(text)

    def phase(self, name: str, planned: int) -> None:
        """Write a line, and how the phase before went."""
        self._end_phase()
        self._phase = name
        self._line(f"phase {name}: {planned} checks")

    def case(self, result: CaseResult) -> None:
        """Write a line unless it passed."""
        if result.outcome is Outcome.PASS:
            self._passed += 1
        else:
            self._line(line_of(result))

    def close(self) -> None:
        """Write how the last phase went."""
        self._end_phase()

    def _end_phase(self) -> None:
        if self._phase:
            self._line(f"phase {self._phase}: {self._passed} cases passed")
        self._phase, self._passed = "", 0


class Live:
    """A progress bar on a terminal, with everything that did not pass above it."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`."""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._progress.start()
        self._checks: set[str] = set()

    def note(self, text: str) -> None:
        """Print above the bar."""
        self._progress.console.print(escape(printable(text)))

    def phase(self, name: str, planned: int) -> None:
        """Start a new bar."""
        self._checks = set()
        self._task = self._progress.add_task(name, total=planned)

    def case(self, result: CaseResult) -> None:
        """Move the bar when a check is first heard of; print what did not pass."""
        if result.check not in self._checks:
            self._checks.add(result.check)
            self._progress.advance(self._task)
        if result.outcome is not Outcome.PASS:
            colour = COLOURS[result.outcome]
            self._progress.console.print(f"[{colour}]{escape(printable(line_of(result)))}[/]")

    def close(self) -> None:
        """Leave the bars as they are."""
        self._progress.stop()


def display_for(*, quiet: bool, stream: TextIO | None = None) -> Display:
    """Choose the display for the stream (standard error by default)."""
    if quiet:
        return Silent()
    target = stream or sys.stderr
    console = Console(file=target)
    return Live(console) if console.is_terminal and not console.is_dumb_terminal else Plain(target)


def line_of(result: CaseResult) -> str:
    """Return the plain line for a case."""
    case = "" if result.case == "-" else f"[{result.case}]"
    reason = f": {result.reason}" if result.reason else ""
    flaky = " FLAKY" if result.flaky else ""
    return (
        f"{result.outcome.value}{flaky} {result.check}{case}{reason} ({result.duration_ms:.0f} ms)"
    )


def printable(text: str) -> str:
    """Replace control characters: what a target says must not drive the reader's terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
