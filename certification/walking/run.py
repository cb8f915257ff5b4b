"""Runs a walk: Hypothesis draws the examples, the budgets end it, a failure becomes a finding."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from certification.checks import CheckFailed, Undecided
from certification.walking.changes import CoreMachine
from certification.walking.growing_machine import GrowthMachine
from certification.walking.machine import WalkMachine
from certification.walking.people_access import PeopleMachine
from certification.walking.people_walk import PeopleWalk
from certification.walking.script import names_of, script
from certification.walking.tale import labelled
from certification.walking.walk import Enough, Limits, Walk

if TYPE_CHECKING:
    from certification.context import Context
    from certification.model import Finding

W = TypeVar("W", bound=Walk)

PEOPLE_STEPS = 40
PEOPLE_EXAMPLES = 9
"""Few and long: the users of an example cost a hashed password each, however short it is."""
EXCHANGES_MAX = 200
EXAMPLES_MIN = 2
"""Fewer whole examples say nothing."""


def take_a_walk(ctx: Context, *, growth: bool, name: str, limits: Limits | None = None) -> Walk:
    """Walk until the budgets are spent; raises `CheckFailed` with the smallest failing example.

    Walks of other names draw other examples. `ctx.trials["walk_requests"]` is the
    budget of one walk under the profile.
    """
    spend = limits or Limits(
        requests=ctx.trials.get("walk_requests", 900),
        shrink_requests=ctx.trials.get("walk_shrink_requests", 3_000),
        seconds=ctx.spec.budget_s / 3,
    )
    walk = Walk(ctx=ctx, limits=spend, growth=growth)
    return walked(walk, GrowthMachine if walk.growth else CoreMachine, name)


def walk_among_people(ctx: Context, *, limits: Limits | None = None) -> PeopleWalk:
    """Walk with users of its own as `take_a_walk` does; NOT_EXERCISED without an admin."""
    spend = limits or Limits(
        requests=ctx.trials.get("people_requests", 600),
        shrink_requests=ctx.trials.get("walk_shrink_requests", 3_000),
        seconds=ctx.spec.budget_s / 3,
        steps=PEOPLE_STEPS,
        examples=PEOPLE_EXAMPLES,
    )
    return walked(PeopleWalk(ctx=ctx, limits=spend, growth=False), PeopleMachine, "people")


def walked(walk: W, base: type[WalkMachine], name: str) -> W:
    """Let Hypothesis walk; raise what came of it, or return the walk that went well."""
    reproduced = _examples(walk, base, name)
    if walk.failure is not None:
        raise CheckFailed(_finding(walk, reproduced=reproduced))
    if walk.halted is not None:
        raise walk.halted
    if walk.examples < EXAMPLES_MIN:
        raise Undecided(f"{walk.examples} sequences within the budget are too few to say")
    return walk


def _examples(walk: Walk, base: type[WalkMachine], name: str) -> bool:
    """Let Hypothesis draw examples until something ends it; whether a failure came again."""
    drawn = f"{walk.ctx.seed}:{walk.ctx.spec.id}:{name}"
    machine = seed(drawn)(type("Example", (base,), {"walk": walk}))
    try:
        run_state_machine_as_test(machine, settings=_settings(walk))
    except (Enough, CheckFailed, Flaky):
        pass
    except BaseExceptionGroup as several:
        _only_ours(several)
    return walk.failures > 1


def _only_ours(several: BaseExceptionGroup[BaseException]) -> None:
    """Hypothesis joins the failures of a flaky example; anything else is a fault of ours."""
    _, other = several.split((CheckFailed, Flaky, Enough))
    if other is not None:
        raise other


def _settings(walk: Walk) -> settings:
    return settings(
        database=None,
        deadline=None,
        derandomize=False,
        max_examples=walk.limits.examples,
        phases=(Phase.generate, Phase.shrink),
        print_blob=False,
        report_multiple_bugs=False,
        stateful_step_count=walk.limits.steps,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )


def _finding(walk: Walk, *, reproduced: bool) -> Finding:
    failure = walk.failure
    if failure is None:
        raise LookupError("no example failed")
    names = {id_: name for id_, (name, _, _) in names_of(failure.tale).items()}
    names |= {text: name for text, (name, _) in failure.tale.made.items()}
    steps = labelled(failure.tale.steps, names)
    flag = "" if reproduced else " (intermittent: the same sequence passed when it was repeated)"
    replies = [sent.reply for sent in failure.tale.sent if sent.reply is not None]
    numbers = [reply.exchange_number for reply in replies][-EXCHANGES_MAX:]
    cited = tuple(dict.fromkeys([*failure.finding.exchanges, *numbers]))
    return replace(
        failure.finding,
        message=f"{failure.finding.message}{flag}. Shortest sequence: {steps}"[:2_000],
        exchanges=cited,
        script=script(failure),
    )
