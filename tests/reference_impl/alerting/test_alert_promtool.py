"""The rule file: made of the same rules, accepted by promtool, over metrics that are exported."""

import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

from reference_impl import outbox
from reference_impl.alerting import evaluator, promfile
from reference_impl.alerting.rule import REQUESTS
from reference_impl.alerting.rules import BY_NAME, IN_PROMETHEUS
from reference_impl.alerting.rules import declared as declared_rules
from tests.reference_impl._desk import opened

FILE = Path(outbox.__file__).parent / "ops" / "alluse.rules.yaml"
ONLY_WITH_OUTSIDE_SYSTEMS = {
    "integration_breaker_state",
    "integration_call_duration_seconds_count",
    "outbox_backlog_events",
}
"""Exported as soon as an outside system or a consumer is configured."""

UNIT_TESTS = """
rule_files: [{file}]
evaluation_interval: 1m
tests:
  - interval: 1m   # threshold
    input_series:
      - series: 'db_commit_failures_total{{reason="busy"}}'
        values: '0 0 0 1 2 2 2 2 2 2 2 2 2 2 2 2'
    alert_rule_test:
      - eval_time: 2m
        alertname: WritesFail
      - eval_time: 5m
        alertname: WritesFail
        exp_alerts:
          - exp_labels: {{severity: critical, group: database, kind: threshold, reason: busy}}
            exp_annotations:
              summary: "{WritesFail[0]}"
              remedy: "{WritesFail[1]}"
              value: "2"
      - eval_time: 14m
        alertname: WritesFail
  - interval: 1m   # a share: of enough answers, enough failures that are the service's own
    input_series:
      - series: '{requests}{{method="GET",route="/v1/accounts",status="200"}}'
        values: '0+10x60'
      - series: '{requests}{{method="POST",route="/v1/orders",status="503"}}'
        values: '0x10 3x20 25x29'
      - series: '{requests}{{method="GET",route="/v1/accounts",status="500"}}'
        values: '0x39 10x21'
      - series: 'http_server_problems_total{{code="circuit_open"}}'
        values: '0x31 22x29'
      - series: 'http_server_problems_total{{code="internal_error"}}'
        values: '0x39 10x21'
    alert_rule_test:
      - eval_time: 13m
        alertname: ErrorsHigh
      - eval_time: 34m
        alertname: ErrorsHigh
      - eval_time: 43m
        alertname: ErrorsHigh
        exp_alerts:
          - exp_labels: {{severity: critical, group: service, kind: threshold}}
            exp_annotations:
              summary: "{ErrorsHigh[0]}"
              remedy: "{ErrorsHigh[1]}"
              value: "166.7m"
  - interval: 1m   # anomaly
    input_series:
      - series: 'ledger_transactions_total{{kind="transfer",outcome="posted"}}'
        values: '0+60x80 4800x20'
    alert_rule_test:
      - eval_time: 80m
        alertname: TransactionsFallen
      - eval_time: 95m
        alertname: TransactionsFallen
        exp_alerts:
          - exp_labels: {{severity: warning, group: business, kind: anomaly}}
            exp_annotations:
              summary: "{TransactionsFallen[0]}"
              remedy: "{TransactionsFallen[1]}"
              value: "0"
  - interval: 1m   # composite: the start itself is no replacement
    input_series:
      - series: process_start_time_seconds
        values: '0x60'
      - series: process_worker_starts_total
        values: '1 2x39 3x20'
    alert_rule_test:
      - eval_time: 4m
        alertname: WorkerReplaced
      - eval_time: 30m
        alertname: WorkerReplaced
      - eval_time: 42m
        alertname: WorkerReplaced
        exp_alerts:
          - exp_labels: {{severity: warning, group: service, kind: composite}}
            exp_annotations:
              summary: "{WorkerReplaced[0]}"
              remedy: "{WorkerReplaced[1]}"
              value: "1"
      - eval_time: 50m
        alertname: WorkerReplaced
  - interval: 1m   # trend
    input_series:
      - series: disk_free_bytes
        values: '5000000000x60 5000000000-60000000x60'
    alert_rule_test:
      - eval_time: 60m
        alertname: DiskRunsOut
      - eval_time: 115m
        alertname: DiskRunsOut
        exp_alerts:
          - exp_labels: {{severity: warning, group: disk, kind: trend}}
            exp_annotations:
              summary: "{DiskRunsOut[0]}"
              remedy: "{DiskRunsOut[1]}"
              value: "-12.15G"
  - interval: 1m   # what is absent is visible
    input_series: []
    alert_rule_test:
      - eval_time: 5m
        alertname: ServiceDown
        exp_alerts:
          - exp_labels:
              {{severity: critical, group: service, kind: threshold, metric: process_workers}}
            exp_annotations:
              summary: "{ServiceDown[0]}"
              remedy: "{ServiceDown[1]}"
              value: "1"
"""


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        reason = "promtool is not installed (Debian: prometheus): the rule file was NOT checked"
        warnings.warn(reason, stacklevel=2)
        pytest.skip(reason)
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)  # noqa: PLW1510 - the caller looks at the code


def test_the_file_is_made_of_the_rules() -> None:
    assert FILE.read_text("utf-8") == promfile.text(), "python -m reference_impl alert-rules --out"


@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_promtool_accepts_the_file(tmp_path: Path, scale: float) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(promfile.text(scale), "utf-8")
    done = promtool("check", "rules", str(path))
    assert done.returncode == 0, done.stderr
    assert f"{len(IN_PROMETHEUS)} rules found" in done.stdout


def test_prometheus_judges_a_rule_of_each_kind_as_meant(tmp_path: Path) -> None:
    texts = {rule.name: (rule.summary, rule.remedy) for rule in IN_PROMETHEUS}
    path = tmp_path / "tests.yaml"
    path.write_text(UNIT_TESTS.format(file=FILE, requests=f"{REQUESTS}_count", **texts), "utf-8")
    done = promtool("test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_prometheus_has_the_rule_that_waits_for_the_judge_itself_to_be_gone() -> None:
    """A deployment that is down judges nothing; one that judges has a worker, and shows it."""
    assert {rule.name for rule in IN_PROMETHEUS} - set(BY_NAME) == {"ServiceDown"}
    declared = declared_rules(60.0)["alerts"]
    assert isinstance(declared, list)
    assert {rule["name"] for rule in declared} == set(BY_NAME)
    assert 'alert: "ServiceDown"' in FILE.read_text("utf-8")


def test_every_metric_of_a_rule_is_exported(tmp_path: Path) -> None:
    with opened(tmp_path) as desk:
        desk.app.extensions["alluse.sample"]()
        shown = set(evaluator.scrape(desk.services))
    asked = promfile.metrics()
    missing = {name for name in asked if name not in shown and f"{name}_count" not in shown}
    assert missing - ONLY_WITH_OUTSIDE_SYSTEMS == set()
    assert {f"{name}" for name in asked} >= {"process_workers", "db_integrity_ok"}
