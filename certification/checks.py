"""What a check is: the `@check` declaration, its outcome exceptions, and the catalogue."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from certification import shipped
from certification.errors import HarnessError
from certification.model import (
    SUITE_CATEGORY,
    Category,
    CheckId,
    Finding,
    Module,
    RequirementId,
    Severity,
    Veto,
)

ID_PATTERN = re.compile(r"[a-z]+/[a-z0-9-]+/[a-z0-9-]+")
DOC_SECTIONS = ("Why", "How", "Fails when", "Remedy")
ATTRIBUTE = "__certification_check__"

ARRANGED = frozenset(
    {
        "getCapabilities",
        "login",
        "refreshSession",
        "logout",
        "createUser",
        "getUser",
        "updateUser",
        "createAccount",
        "getAccount",
        "listAccounts",
        "updateAccount",
        "closeAccount",
        "createTransaction",
        "getTransaction",
        "listEntries",
        "getGrowthPolicy",
    }
)
"""What any check may send without naming it: sessions, users, accounts with money and how they read
afterwards, and the rules of growth that its oracle computes from."""

CheckFunction = TypeVar("CheckFunction", bound=Callable[..., None])


class CheckFailed(Exception):  # noqa: N818  the word for what happened to the target, not to us
    """The target is wrong; carries the finding. Only `ctx` raises it."""

    def __init__(self, finding: Finding) -> None:
        """Hold the finding."""
        super().__init__(f"{finding.message}: expected {finding.expected}, got {finding.observed}")
        self.finding = finding


class Undecided(Exception):  # noqa: N818  not an error
    """Tried, cannot say: outcome INCONCLUSIVE with this reason."""


class NotExercised(Exception):  # noqa: N818  not an error
    """Could not be tried on this target: outcome NOT_EXERCISED with this reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSpec:
    """The declaration above a check function."""

    id: CheckId
    title: str
    """True when the check passes."""
    failure_title: str
    """True when it fails."""
    severity: Severity
    requirements: tuple[RequirementId, ...]
    operations: tuple[str, ...]
    """Contract operation ids that the check sends, besides those ARRANGED for any; a declared
    deviation from one of them decides the check. What it sends only where that is offered is left
    out."""
    defects: tuple[str, ...]
    """Planted defects that the check must catch; at least one."""
    modules: tuple[Module, ...]
    identities: tuple[str, ...]
    """Roles without which the check cannot be tried."""
    grants: tuple[str, ...]
    """What the operator must have granted: load, attack, fault, ..."""
    veto: Veto | None
    alone: bool
    """Runs in a phase of its own kind, without parallel neighbours."""
    last: bool
    """Runs after every other phase: the sweeps."""
    after: tuple[CheckId, ...]
    """Checks that must have passed before; orders phases only."""
    standards: tuple[str, ...]
    version: int
    budget_s: float
    """No request starts later than this after the case began."""
    docs: Mapping[str, str]
    """The docstring's sections: Why, How, Fails when, Remedy."""
    path: str
    """File and function, relative to the suites folder: a pytest node id."""

    @property
    def suite(self) -> str:
        """First part of the id."""
        return self.id.split("/", 1)[0]

    @property
    def area(self) -> str:
        """Second part of the id."""
        return self.id.split("/")[1]

    @property
    def category(self) -> Category:
        """The one category that the suite feeds."""
        return SUITE_CATEGORY[self.suite]

    @property
    def phase(self) -> str:
        """The phase it runs in: parallel, alone or sweep."""
        if self.last:
            return "sweep"
        return "alone" if self.alone else "parallel"


def check(  # noqa: PLR0913  a declaration is a list of named facts
    id: str,  # noqa: A002  the word of the vocabulary
    *,
    title: str,
    failure_title: str,
    severity: Severity,
    requirements: Sequence[str],
    operations: Sequence[str],
    defects: Sequence[str],
    modules: Sequence[Module] = (Module.CORE,),
    identities: Sequence[str] = ("customer",),
    grants: Sequence[str] = (),
    veto: Veto | None = None,
    alone: bool = False,
    last: bool = False,
    after: Sequence[str] = (),
    standards: Sequence[str] = (),
    version: int = 1,
    budget_s: float = 60.0,
) -> Callable[[CheckFunction], CheckFunction]:
    """Declare the function below as a check; pytest collects it, the catalogue lists it.

    Raises `HarnessError` for a declaration that cannot be right: a malformed id, no requirement, no
    planted defect, a docstring without its four sections.
    """

    def declare(function: CheckFunction) -> CheckFunction:
        docs = doc_sections(inspect.getdoc(function) or "")
        spec = CheckSpec(
            id=CheckId(id),
            title=title,
            failure_title=failure_title,
            severity=severity,
            requirements=tuple(RequirementId(name) for name in requirements),
            operations=tuple(operations),
            defects=tuple(defects),
            modules=tuple(modules),
            identities=tuple(identities),
            grants=tuple(grants),
            veto=veto,
            alone=alone,
            last=last,
            after=tuple(CheckId(name) for name in after),
            standards=tuple(standards),
            version=version,
            budget_s=budget_s,
            docs=docs,
            path=_node_id(function),
        )
        _refuse_malformed(spec)
        setattr(function, ATTRIBUTE, spec)
        return function

    return declare


def _node_id(function: Callable[..., Any]) -> str:
    file = Path(function.__code__.co_filename)
    return f"{file.parent.name}/{file.name}::{function.__name__}"


def doc_sections(text: str) -> dict[str, str]:
    """Return the sections of a check's docstring: `Why: ...` up to the next section's name."""
    names = "|".join(DOC_SECTIONS)
    parts = re.split(rf"^({names}):", text, flags=re.MULTILINE)
    return {
        name: " ".join(body.split()) for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def spec_of(function: Callable[..., Any]) -> CheckSpec | None:
    """Return the declaration of a check function, None for any other."""
    found = getattr(function, ATTRIBUTE, None)
    return found if isinstance(found, CheckSpec) else None


def load_catalogue(root: Path | None = None) -> tuple[CheckSpec, ...]:
    """Import every `<suite>/test_<area>.py` below `root` and return its checks, sorted by id.

    Raises `HarnessError` where an id does not match its path or stands twice.
    """
    base = root or shipped.path("suites")
    found: dict[CheckId, CheckSpec] = {}
    for file in sorted(base.glob("*/test_*.py")):
        for spec in _checks_of(file):
            expected = f"{file.parent.name}/{file.stem.removeprefix('test_').replace('_', '-')}/"
            if not spec.id.startswith(expected):
                raise HarnessError(f"{file}: the id {spec.id!r} must start with {expected!r}")
            if spec.id in found:
                raise HarnessError(f"{file}: the id {spec.id!r} stands twice")
            found[spec.id] = spec
    unknown = {name for spec in found.values() for name in spec.after} - set(found)
    if unknown:
        raise HarnessError(f"checks depend on unknown checks: {', '.join(sorted(unknown))}")
    return tuple(found[name] for name in sorted(found))


def _checks_of(file: Path) -> Iterator[CheckSpec]:
    name = f"_certification_suite_{file.parent.name}_{file.stem}"
    source = importlib.util.spec_from_file_location(name, file)
    if source is None or source.loader is None:
        raise HarnessError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(source)
    sys.modules[name] = module
    source.loader.exec_module(module)
    for value in vars(module).values():
        if callable(value) and (spec := spec_of(value)):
            yield spec


def _refuse_malformed(spec: CheckSpec) -> None:
    missing = [name for name in DOC_SECTIONS if not spec.docs.get(name)]
    complaint = None
    if not ID_PATTERN.fullmatch(spec.id) or spec.suite not in SUITE_CATEGORY:
        complaint = "the id must be <suite>/<area>/<question> with a suite of the vocabulary"
    elif not spec.requirements:
        complaint = "it verifies no requirement"
    elif not spec.defects:
        complaint = "it names no planted defect that it catches"
    elif missing:
        complaint = f"its docstring lacks the sections {', '.join(missing)}"
    if complaint:
        raise HarnessError(f"check {spec.id!r}: {complaint}")
