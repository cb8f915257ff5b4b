"""The blueprints of the strategy engine, identity exchange and breakers, and their jobs."""

from reference_impl import web
from reference_impl.background import Background

from . import exchange, status, strategies, strategy_runs

BLUEPRINTS = (status.blueprint, strategies.blueprint, exchange.blueprint)


def install(jobs: Background, shared: web.Services) -> None:
    """Register what runs beside the requests."""
    strategy_runs.install(jobs, shared)
