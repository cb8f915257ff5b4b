"""The three kinds of wrong, and which stage of a run raises which.

Stages of a run, in order:

1. *resolve* reads options, target file, profile, waivers, attestations. A mistake in any of them is
   the operator's: `UsageError`, exit code 2, before any request is sent.
2. *observe* runs the checks. A target that misbehaves is not an exception of this module: it is a
   finding (`certification.checks.CheckFailed`), outcome FAIL. What breaks on our side, or a target
   that is gone, is `HarnessError`: outcome ERROR or INCONCLUSIVE, exit code 3 where the verdict
   cannot be carried.
3. *judge* reads a recorded run. A file that is cut, edited or of another version raises
   `EvidenceError`: it cannot carry a verdict, a usage error of offline commands (exit code 2).
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What `certify` returns; `docs/exit-codes.md` explains each to its reader."""

    REACHED = 0
    """The requested level was reached, or the offline question was answered with yes."""
    NOT_REACHED = 1
    """The requested level was not reached, or the answer is no."""
    USAGE = 2
    """The operator's input cannot be used; nothing was sent."""
    INCONCLUSIVE = 3
    """The verdict cannot be carried by what was observed."""
    INTERRUPTED = 130
    """Ctrl-C or SIGTERM; what was gathered is kept and the written verdict is INCONCLUSIVE."""


class CertificationError(Exception):
    """Base of the errors that a command turns into a message instead of a traceback."""

    exit_code: ExitCode = ExitCode.INCONCLUSIVE

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """Hold a one-line message and, where there is one, the fix as an instruction."""
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CertificationError):
    """The operator made a mistake; the message names the file, the key, the value and the fix."""

    exit_code = ExitCode.USAGE


class EvidenceError(UsageError):
    """An evidence file is cut, edited, of another version, or not evidence at all."""


class HarnessError(CertificationError):
    """The harness or its environment broke; never booked on the target and never a pass."""


class TargetLost(HarnessError):  # noqa: N818  says what happened
    """The target stopped answering and its readiness did not come back in time."""
