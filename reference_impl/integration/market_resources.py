"""What the application registers of the market: resources and the work beside the requests."""

import functools

from reference_impl import background, web

from . import callbacks, desk, orders, positions, reconciliation

BLUEPRINTS = (
    callbacks.blueprint,
    orders.blueprint,
    positions.blueprint,
    reconciliation.blueprint,
)
EVERY_S = 0.25


def install(jobs: background.Background, shared: web.Services) -> None:
    """Go on with the orders and reconciliations that are due, in the worker that owns the job."""
    jobs.run_when_owner("market", EVERY_S, functools.partial(step, shared))


def step(shared: web.Services) -> bool:
    """Do some of what is due; True if there may be more."""
    return any([desk.step(shared), reconciliation.step(shared)])
