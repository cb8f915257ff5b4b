"""What is kept in memory between requests, and how often it was of use.

Nothing here can be out of date: each value follows from its key alone. What can change (sessions,
roles, grants, accounts, balances) is read from the database by every request, of every worker.
"""

from collections.abc import Iterator

from . import clock, principals, tokens

CACHES = {
    "verified_tokens": tokens.read,
    "instants": clock.text,
    "scopes": principals.scope_of,
}


def lookups() -> Iterator[tuple[tuple[str, str], int]]:
    """Yield ((cache, hit or miss), how many there were in this worker since it started)."""
    for name, cached in CACHES.items():
        known = cached.cache_info()
        yield (name, "hit"), known.hits
        yield (name, "miss"), known.misses
