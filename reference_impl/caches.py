"""What is kept in memory between requests, and how often it was of use.

Nothing here can be out of date: each value follows from its key alone. What can change (sessions,
roles, grants, accounts, balances) is read from the database by every request, of every worker.
"""

from collections.abc import Mapping

from . import clock, principals, tokens

CACHES = {
    "verified_tokens": tokens.read,
    "instants": clock.text,
    "scopes": principals.scope_of,
}


def cache_statistics() -> Mapping[str, int]:
    """Return `<cache>_hits`, `_misses` and `_entries` of this worker, since it started."""
    found = {}
    for name, cached in CACHES.items():
        known = cached.cache_info()
        found[f"{name}_hits"] = known.hits
        found[f"{name}_misses"] = known.misses
        found[f"{name}_entries"] = known.currsize
    return found
