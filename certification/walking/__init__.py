"""The model walk: random sequences over the whole API, each step held against the oracle's book."""
