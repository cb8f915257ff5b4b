"""The simulated counterparties; see docs/counterparties.md. Import from `parties` to use them.

This module imports nothing, so that a run that needs no counterparty does not pay for them.
"""
