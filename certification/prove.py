"""Proves that checks can fail: each planted defect must be caught by every check that it names."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from certification.checks import CheckSpec, load_catalogue
from certification.defects import WHOLE_WAY, Defect, launcher
from certification.errors import CertificationError, HarnessError
from certification.model import Json, Outcome
from certification.plan import Selection, matches
from certification.profile import Profile
from certification.progress import Silent
from certification.results import CheckResult
from certification.runner import RunConfig, run
from certification.target.launcher import Command, Prepared, prepare, reference_command

WITNESS = "ALLUSE_DEFECT_WITNESS"
"""Folder in which a planted replacement leaves a file when it is first called."""
SEED = 20250101
"""Proofs draw the same random numbers every time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What one defect, or the clean reference, came to."""

    defect: str
    """Defect id, or `-` for the clean reference."""
    tried: int
    caught: int
    """Tries in which every named check FAILed and the planted code was really called."""
    missed: tuple[str, ...]
    """Why a try was not a catch, in words."""
    collateral: tuple[str, ...] = ()
    """Failures outside the defect's declared reach; only a matrix looks for them."""

    @property
    def holds(self) -> bool:
        """Whether the proof is complete."""
        return self.caught == self.tried and not self.collateral


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRun:
    """How proofs are run."""

    profile: Profile
    tries: int = 1
    race_tries: int = 1
    parallel: int = 2
    everything: bool = False
    """Run every check of one question on each defect, not only those it names: the matrix."""
    prepared: Prepared | None = None
    """What each planted reference starts from, once it is made."""


def prove_clean(catalogue: Sequence[CheckSpec], settings: ProofRun) -> Proof:
    """Run every named check on the clean reference: each must PASS, and nothing may be missing."""
    checks = tuple(spec.id for spec in catalogue if spec.defects)
    results, _ = _observe(None, checks, settings)
    missed = tuple(
        f"{check}: {_outcome(results, check).value} on the clean reference"
        for check in checks
        if _outcome(results, check) is not Outcome.PASS
    )
    return Proof(defect="-", tried=len(checks), caught=len(checks) - len(missed), missed=missed)


def prove_defects(
    defects: Sequence[Defect], settings: ProofRun, *, interrupted: threading.Event
) -> Iterator[Proof]:
    """Yield the proof of each defect, in their order; ends early when interrupted."""
    with tempfile.TemporaryDirectory(prefix="certify-prove-") as name:
        prepared = prepare(reference_command(), folder=Path(name))
        started = replace(settings, prepared=prepared)

        def one(defect: Defect) -> Proof | None:
            return None if interrupted.is_set() else prove_defect(defect, started)

        with ThreadPoolExecutor(max_workers=settings.parallel) as pool:
            for proof in pool.map(one, defects):
                if proof is None:
                    return
                yield proof


def prove_defect(defect: Defect, settings: ProofRun) -> Proof:
    """Start the reference with the defect and see whether each named check FAILs, every time."""
    tries = settings.race_tries if defect.race else settings.tries
    caught, missed, collateral = 0, [], set()
    for _ in range(tries):
        try:
            results, called = _observe(
                defect, _directed(defect) if settings.everything else defect.catches, settings
            )
        except CertificationError as error:
            missed.append(error.message)
            continue
        wrong = _complaints(defect, results, called)
        missed += wrong
        caught += not wrong
        collateral |= {
            check
            for check, result in results.items()
            if result.outcome is Outcome.FAIL and not matches(check, defect.may_fail)
        }
    return Proof(
        defect=defect.id,
        tried=tries,
        caught=caught,
        missed=tuple(missed),
        collateral=tuple(sorted(collateral)),
    )


def _directed(defect: Defect) -> tuple[str, ...]:
    """Return what a matrix runs on a defect: checks of one question, and those it names."""
    checks = (str(spec.id) for spec in load_catalogue())
    return (*defect.catches, *(check for check in checks if not matches(check, WHOLE_WAY)))


def _complaints(defect: Defect, results: Mapping[str, CheckResult], called: int) -> list[str]:
    """Return why a try was not a catch; empty where it was one."""
    wrong = []
    for check in defect.catches:
        outcome = _outcome(results, check)
        if outcome is not Outcome.FAIL:
            wrong.append(f"{check}: {outcome.value} instead of FAIL")
        elif not defect.crashes and _only_crashed(results[check]):
            wrong.append(f"{check}: caught by nothing but a 5xx, so perhaps the planting broke")
    if called < defect.patches:
        wrong.append(f"only {called} of {defect.patches} planted replacements were called")
    return wrong


def resumable(
    defects: Sequence[Defect],
    file: Path,
    prove: Callable[[Sequence[Defect]], Iterator[Proof]],
) -> Iterator[Proof]:
    """Yield proofs, those recorded in `file` first; every new one is appended there at once."""
    known = _recorded(file)
    yield from (known[defect.id] for defect in defects if defect.id in known)
    with file.open("a", encoding="utf-8") as sink:
        for proof in prove([defect for defect in defects if defect.id not in known]):
            sink.write(json.dumps(asdict(proof)) + "\n")
            sink.flush()
            yield proof


def _recorded(file: Path) -> dict[str, Proof]:
    if not file.exists():
        return {}
    try:
        rows: list[Json] = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        proofs = [
            Proof(
                defect=row["defect"],
                tried=row["tried"],
                caught=row["caught"],
                missed=tuple(row["missed"]),
                collateral=tuple(row["collateral"]),
            )
            for row in rows
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise HarnessError(
            f"{file}: not a record of proofs: {error!r}", hint="remove it to start again"
        ) from error
    return {proof.defect: proof for proof in proofs}


def _observe(
    defect: Defect | None, checks: Sequence[str], settings: ProofRun
) -> tuple[dict[str, CheckResult], int]:
    """Run checks on the reference; return their results and how many replacements were called."""
    with tempfile.TemporaryDirectory(prefix="certify-prove-") as name:
        folder = Path(name)
        witness = folder / "witness"
        witness.mkdir()
        command = None
        if defect is not None:
            planted = reference_command((sys.executable, str(launcher()), defect.id))
            command = Command(
                init=reference_command().init,
                prepared=settings.prepared,
                serve=planted.serve,
                environment={WITNESS: str(witness)},
            )
        outcome = run(
            RunConfig(
                profile=settings.profile,
                out=folder / "run",
                command=command,
                selection=Selection(checks=tuple(checks)),
                workers=1 if len(checks) < 8 else settings.parallel,
                seed=SEED,
                operator="certify prove",
            ),
            display=Silent(),
            interrupted=threading.Event(),
        )
        rows = outcome.judgement.score.checks
        called = {file.name.rsplit(".", 1)[0] for file in witness.iterdir()}
    return {row.check.id: row for row in rows if matches(row.check.id, checks)}, len(called)


def _outcome(results: Mapping[str, CheckResult], check: str) -> Outcome:
    return results[check].outcome if check in results else Outcome.ERROR


def _only_crashed(result: CheckResult) -> bool:
    """Whether every finding is a 5xx: what a replacement that no longer fits its place gives."""
    return all(
        finding.form_only and finding.observed.startswith("5") for finding in result.findings
    )
