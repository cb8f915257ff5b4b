"""A certification runner for account systems: contract, checks, evidence, score, certificate."""

__version__ = "0.1.0"
__all__ = ["__version__"]
