"""What this deployment asks of outside systems, and how it goes on without them.

`registry` says which systems there are and where; `outbound` makes the calls, over `pool`, behind
the breakers of `breakers`; the other modules are adapters, one for each system.
"""
