"""The resources of growth, for the application to register."""

from . import candidates, events, fork, lineage, merge, policies, reinvest, systems

BLUEPRINTS = tuple(
    part.blueprint
    for part in (candidates, events, fork, lineage, merge, policies, reinvest, systems)
)
