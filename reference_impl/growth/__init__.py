"""How accounts grow: systems, forks, merges and reinvestments by a versioned policy.

`policy` and the modules ending in `_rules` are pure; `policies`, `standing`, `births` and `events`
know the rows; the others are the operations of the contract.
"""
