"""Fuzzing by the contract's schemas: generated requests, held against the contract itself."""
