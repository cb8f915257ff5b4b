"""Alerts of the reference: rules as data, judged by one worker over the metrics of them all.

- `terms`, `conditions`: what a rule asks, with two readings: PromQL, and figures from samples
- `rule`, `rules`, `rules_*`: the rules, their severities and who hears of them
- `history`: the samples that the rules need, kept for as long as their windows reach back
- `judge`: which rules hold now
- `machine`: inactive -> pending -> firing -> resolved, escalation, silences: pure
- `store`: alerts, silences and notices as rows
- `evaluator`: the job that samples, judges and writes
- `resources`: the operations
- `promfile`: the same rules as a Prometheus rule file, for which `cli` has a command
"""
