"""The alert rules as a rule file for Prometheus, made of the same data."""

import json
from collections.abc import Iterator, Sequence

from .rule import Rule
from .rules import IN_PROMETHEUS
from .terms import duration

HEAD = """# Alert rules for Prometheus. Made by `python -m reference_impl alert-rules` of the rules
# that the deployment judges itself, and of those about it as a whole: change those, not this file.
"""


def text(scale: float = 1.0, rules: Sequence[Rule] = IN_PROMETHEUS) -> str:
    """Return the file; `scale` divides all times, as `alert_scale` does in the deployment."""
    lines = [HEAD + "groups:"]
    for group in dict.fromkeys(rule.group for rule in rules):
        lines += [f"  - name: {_quoted(f'alluse-{group}')}", "    rules:"]
        for rule in (rule for rule in rules if rule.group == group):
            lines += _rule(rule, scale)
    return "\n".join(lines) + "\n"


def _rule(rule: Rule, scale: float) -> Iterator[str]:
    yield f"      - alert: {_quoted(rule.name)}"
    yield f"        expr: {_quoted(rule.asks.promql(scale))}"
    if rule.for_s:
        yield f"        for: {duration(rule.for_s, scale)}"
    yield "        labels:"
    for name, value in (("severity", rule.severity), ("group", rule.group), ("kind", rule.kind)):
        yield f"          {name}: {_quoted(value)}"
    yield "        annotations:"
    for name, value in (("summary", rule.summary), ("remedy", rule.remedy)):
        yield f"          {name}: {_quoted(value)}"
    yield f"          value: {_quoted('{{ $value | humanize }}')}"


def metrics(rules: Sequence[Rule] = IN_PROMETHEUS) -> dict[str, set[str]]:
    """Return the exposed names that rules read, each with the rules; those of absent() too."""
    found: dict[str, set[str]] = {}
    for rule in rules:
        for selector in rule.asks.selectors():
            found.setdefault(selector.series, set()).add(rule.name)
    return found


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
