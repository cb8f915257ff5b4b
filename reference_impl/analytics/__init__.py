"""Analytics: figures of an account or a system, computed from its entries and nothing else.

`reading` sums the entries of a subject into a `series` of days; `performance`, `risk` and `line`
are pure functions from a series to figures; every figure carries its unit, scale and formula.
"""
