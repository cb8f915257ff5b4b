"""The reference account system: a compact Flask and SQLite implementation of the contract."""

__all__ = ["__version__"]

__version__ = "0.1.0"
