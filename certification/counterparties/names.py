"""The five counterparties, by name."""

from enum import Enum


class Party(Enum):
    """An external system that a deployment talks to; the value names its outbound contract."""

    STRATEGY_ENGINE = "strategy-engine"
    MARKET = "market"
    USER_MANAGEMENT = "user-management"
    NOTIFICATION = "notification"
    REPORTING = "reporting"

    @property
    def variable(self) -> str:
        """The name as a part of environment variables."""
        return self.name

    @property
    def attribute(self) -> str:
        """The name as an attribute of `Counterparties`."""
        return self.value.replace("-", "_")
