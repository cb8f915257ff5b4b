"""From what holds to what is told: inactive, pending, firing, acknowledged, resolved.

Pure: the moment, what stands and what holds come in; changes go out. An alert is one rule with
one set of labels; it is told once when it fires, at each escalation and when it is over, and not
at all while it is silenced or while an alert that explains it fires.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .rule import ROUTES, Rule
from .rules import for_ms
from .terms import Figures, Labels

Key = tuple[str, Labels]
"""Name of the rule, and values of its labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An alert that is not over."""

    id: str
    key: Key
    acknowledged: bool = False
    told_at: int | None = None
    """When somebody was last told that it fires, or that nobody takes it; None: nobody was."""
    escalation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """What nobody wants to hear of for a while."""

    id: str
    matchers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fire:
    """A new alert."""

    key: Key
    value: float
    pending_at: int
    receivers: tuple[str, ...]
    """Nobody while it is muted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """An alert that stood already: `kind` is firing (it is muted no more), escalated, resolved."""

    id: str
    kind: str
    receivers: tuple[str, ...]
    escalation: int = 0


@dataclass(slots=True, kw_only=True)
class Machine:
    """The rules, and since when each one that does not fire yet holds."""

    rules: Sequence[Rule]
    scale: float
    pending: dict[Key, int] = field(default_factory=dict)

    def step(
        self,
        now_ms: int,
        holding: Mapping[str, Figures | None],
        standing: Sequence[Standing],
        silences: Sequence[Silence],
    ) -> list[Fire | Tell]:
        """Return what changes now."""
        by_key = {alert.key: alert for alert in standing}
        changes: list[Fire | Tell] = []
        for rule in self.rules:
            figures = holding.get(rule.name)
            for labels, value in (figures or {}).items():
                key = (rule.name, labels)
                quiet = bool(
                    inhibitors(key, standing, self.rules)
                    or silenced_by(label_map(rule, labels), silences)
                )
                if key in by_key:
                    changes += self._still(now_ms, rule, by_key[key], quiet=quiet)
                elif (since := self._ripe(now_ms, rule, key)) is not None:
                    receivers = () if quiet else ROUTES[rule.severity].receivers
                    changes.append(
                        Fire(key=key, value=value, pending_at=since, receivers=receivers)
                    )
            if figures is not None:
                changes += self._over(rule, figures, by_key)
        return changes + self._orphans(standing)

    def _ripe(self, now_ms: int, rule: Rule, key: Key) -> int | None:
        """Return since when a rule has held, if it fires now; begin to wait if it does not."""
        since = self.pending.setdefault(key, now_ms)
        if since > now_ms:  # the clock was set back
            since = self.pending[key] = now_ms
        if now_ms - since < for_ms(rule, self.scale):
            return None
        return self.pending.pop(key)

    def _still(self, now_ms: int, rule: Rule, alert: Standing, *, quiet: bool) -> list[Tell]:
        """Return what is told of an alert that goes on."""
        route = ROUTES[rule.severity]
        if quiet:
            return []
        if alert.told_at is None:
            return [Tell(id=alert.id, kind="firing", receivers=route.receivers)]
        if alert.acknowledged or alert.escalation >= len(route.escalations):
            return []
        following = route.escalations[alert.escalation]
        before_s = route.escalations[alert.escalation - 1].after_s if alert.escalation else 0.0
        # Whoever was told late, after a silence say, has as long to take it as anybody.
        if now_ms - alert.told_at < (following.after_s - before_s) * 1000 / self.scale:
            return []
        level = alert.escalation + 1
        return [
            Tell(id=alert.id, kind="escalated", receivers=following.receivers, escalation=level)
        ]

    def _over(self, rule: Rule, figures: Figures, by_key: Mapping[Key, Standing]) -> list[Tell]:
        """Return the alerts of a rule that are over, and forget what waited in vain."""
        for key in [key for key in self.pending if key[0] == rule.name and key[1] not in figures]:
            del self.pending[key]
        return [
            Tell(id=alert.id, kind="resolved", receivers=heard(rule, alert))
            for key, alert in by_key.items()
            if key[0] == rule.name and key[1] not in figures
        ]

    def _orphans(self, standing: Sequence[Standing]) -> list[Tell]:
        """Return alerts whose rule is there no more: a new version ends them."""
        known = {rule.name for rule in self.rules}
        return [
            Tell(id=alert.id, kind="resolved", receivers=())
            for alert in standing
            if alert.key[0] not in known
        ]


def heard(rule: Rule, alert: Standing) -> tuple[str, ...]:
    """Return everybody who was told of an alert."""
    return () if alert.told_at is None else ROUTES[rule.severity].reached(alert.escalation)


def label_map(rule: Rule, labels: Labels) -> dict[str, str]:
    """Return all labels of an alert, as Alertmanager names them."""
    return {
        "alertname": rule.name,
        "severity": rule.severity,
        "group": rule.group,
        "kind": rule.kind,
        **dict(zip(rule.labels, labels, strict=True)),
    }


def silenced_by(labels: Mapping[str, str], silences: Sequence[Silence]) -> list[str]:
    """Return the silences that match: all their matchers equal labels of the alert."""
    return [
        silence.id
        for silence in silences
        if all(labels.get(name, "") == value for name, value in silence.matchers)
    ]


def inhibitors(key: Key, standing: Iterable[Standing], rules: Sequence[Rule]) -> list[str]:
    """Return the alerts that explain one: their rules say so, and the labels of both are equal.

    Those are the labels that both rules have, as `equal` of Alertmanager's inhibitions: what is
    wrong with one outside system explains nothing of another.
    """
    by_name = {rule.name: rule for rule in rules}
    return [
        alert.id
        for alert in standing
        if (source := by_name.get(alert.key[0])) is not None
        and key[0] in source.inhibits
        and _agree(_own_labels(source, alert.key), _own_labels(by_name[key[0]], key))
    ]


def _own_labels(rule: Rule, key: Key) -> dict[str, str]:
    return dict(zip(rule.labels, key[1], strict=True))


def _agree(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return all(one[name] == other[name] for name in one.keys() & other.keys())
