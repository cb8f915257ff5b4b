"""The Grafana files: current, of exported names, and read by Prometheus as by the pages."""

import contextlib
import itertools
import json
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.core import Metric

from reference_impl import metrics, outbox
from reference_impl.dashboards import grafana, pages
from reference_impl.dashboards.expressions import INTERVAL, Expression, quantile
from reference_impl.dashboards.samples import summed
from reference_impl.metrics_scrape import Everything

from ._desk import Desk, opened

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="no promtool on this machine (Debian: apt-get install prometheus)"
)
SHIPPED = [json.loads(path.read_text("utf-8")) for path in sorted(grafana.FOLDER.glob("*.json"))]
TARGETS = [
    (board["uid"], panel["title"], target["expr"])
    for board in SHIPPED
    for panel in board["panels"]
    for target in panel.get("targets", ())
]
WORDS = re.compile(r"(?<![\w\"$])[a-z_][a-z0-9_]*(?=[\s({\[)/]|$)")
LANGUAGE = frozenset(
    {"sum", "max", "min", "by", "rate", "or", "vector", "histogram_quantile", "time", "topk"}
)
SPAN_S = 60.0


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> list[Metric]:
    """What /metrics says once each family has been used: a consumer, an outside system."""
    folder = tmp_path_factory.mktemp("grafana")
    with pytest.MonkeyPatch.context() as patch, opened_with_a_system(folder, patch) as desk:
        shared = desk.services
        shared.writer.submit(lambda connection: outbox.advance(connection, "notification", 1))
        for family in metrics.COUNTED:
            labels = tuple("2xx" if name == "status" else "x" for name in family.labels)
            if family.kind == "histogram":
                shared.metrics.observe(family, 0.01, labels)
            elif labels:
                shared.metrics.count(family, labels)
        desk.app.extensions["alluse.sample"]()
        return list(Everything(shared).collect())


def opened_with_a_system(
    folder: Path, patch: pytest.MonkeyPatch
) -> contextlib.AbstractContextManager[Desk]:
    patch.setenv("ALLUSE_COUNTERPARTY_STRATEGY_ENGINE_URL", "http://127.0.0.1:9")
    patch.setenv("ALLUSE_COUNTERPARTY_STRATEGY_ENGINE_TOKEN", "nobody-listens-there")
    return opened(folder)


@pytest.fixture(scope="module")
def exported(families: list[Metric]) -> dict[str, set[str]]:
    """Name of each exposed sample -> its labels."""
    found: dict[str, set[str]] = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_the_shipped_files_are_those_of_the_panels() -> None:
    shipped = {path.name: path.read_text("utf-8") for path in grafana.FOLDER.glob("*.json")}
    assert shipped == grafana.files(), "run: python -m reference_impl dashboards"


def test_the_command_writes_them(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from reference_impl.__main__ import main

    done = CliRunner().invoke(main, ["dashboards", "--out", str(tmp_path / "new")])
    assert done.exit_code == 0, done.output
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {f"{page.id}.json" for page in pages.PAGES}


def test_every_panel_of_every_page_is_there() -> None:
    for page in pages.PAGES:
        (board,) = [one for one in SHIPPED if one["uid"] == f"alluse-{page.id}"]
        assert sorted(one["title"] for one in board["panels"]) == sorted(
            part.title for part in page.parts
        )
        assert len({one["id"] for one in board["panels"]}) == len(page.parts)


def test_panels_lie_within_the_grid_and_on_no_other() -> None:
    for board in SHIPPED:
        taken: set[tuple[int, int]] = set()
        for place in (panel["gridPos"] for panel in board["panels"]):
            across = range(place["x"], place["x"] + place["w"])
            cells = set(itertools.product(across, range(place["y"], place["y"] + place["h"])))
            assert not taken & cells, board["uid"]
            assert max(across) < grafana.COLUMNS
            taken |= cells


def test_expressions_name_exported_metrics_only(exported: dict[str, set[str]]) -> None:
    assert len(TARGETS) > 50
    for uid, title, expression in TARGETS:
        plain = re.sub(r"\{[^}]*\}|by \([^)]*\)|\[[^]]*\]", " ", expression)
        names = set(WORDS.findall(f"{plain} ")) - LANGUAGE
        assert names, (uid, title, expression)
        assert names <= exported.keys(), (uid, title, names - exported.keys())


def test_expressions_name_labels_that_those_metrics_have(exported: dict[str, set[str]]) -> None:
    for one in pages.SUMS:
        named = {*one.by, *(label for label, _ in one.where)}
        assert named <= exported[one.series], one.promql()


def test_codes_and_routes_that_are_chosen_exist(tmp_path: Path) -> None:
    from reference_impl.metrics_requests import template

    with opened(tmp_path) as desk:
        routes = {template(rule.rule) for rule in desk.app.url_map.iter_rules()}
    for one in pages.SUMS:
        for label, pattern in one.where:
            if label == "route":
                assert any(re.fullmatch(pattern, route) for route in routes), pattern


def rules(*, record: str = "one") -> str:
    found = [
        {"record": f"{record}:{number}", "expr": expression.replace(INTERVAL, "1m")}
        for number, (*_, expression) in enumerate(TARGETS)
    ]
    return json.dumps({"groups": [{"name": "dashboards", "rules": found}]})


def promtool(*arguments: str) -> str:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@needs_promtool
def test_every_expression_parses(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(rules(), "utf-8")
    assert f"{len(TARGETS)} rules found" in promtool("check", "rules", str(file))


def expressions() -> Iterator[Expression]:
    for page in pages.PAGES:
        for panel in page.panels:
            yield from (query.show for query in panel.queries)


def later(families: list[Metric], seed: int) -> list[Metric]:
    """The same families after a while: counters have grown, gauges are anything."""
    chance = random.Random(seed)  # noqa: S311 - made-up figures
    found = []
    for family in families:
        moved = Metric(family.name, family.documentation, family.type)
        more: dict[Any, float] = {}
        for sample in family.samples:
            series = tuple((name, value) for name, value in sample.labels.items() if name != "le")
            step = float(chance.choice([0, 1, 3, 7, 250]))
            if sample.name.endswith("_bucket"):
                more[series] = more.get(series, 0.0) + step  # buckets count those below too
                value = sample.value + more[series]
            elif sample.name.endswith("_count"):
                value = sample.value + more[series]
            elif family.type == "gauge":
                value = step + 1
            else:
                value = sample.value + step
            moved.add_sample(sample.name, sample.labels, value)
        found.append(moved)
    return found


def rounded(value: float) -> float:
    """Round as PromQL's round(x, 0.000001) does."""
    inverse = 1.0 / 0.000001
    return float(int(value * inverse + 0.5) / inverse)


def question(expression: Expression, value: list[tuple[str, float]]) -> dict[str, Any]:
    text = expression.promql().replace(INTERVAL, "1m")
    return {
        "expr": f"round(({text}) >= 0, 0.000001)",
        "eval_time": "1m",
        "exp_samples": [{"labels": labels, "value": number} for labels, number in value],
    }


def answers(expression: Expression, before: Any, after: Any) -> list[tuple[str, float]]:
    by = [label for label in expression.needs()[0].by if label != "le"]
    return [
        (
            json.dumps({}) if not by else labelled(by, labels),
            rounded(value),
        )
        for labels, value in expression.values(before, after).items()
        if value >= 0
    ]


def labelled(names: list[str], values: tuple[str, ...]) -> str:
    pairs = zip(names, values, strict=True)
    return "{" + ", ".join(f"{name}={json.dumps(value)}" for name, value in pairs) + "}"


@needs_promtool
@pytest.mark.parametrize("seed", range(4))
def test_prometheus_finds_the_values_that_the_pages_show(
    families: list[Metric], tmp_path: Path, seed: int
) -> None:
    after = later(families, seed)
    values: dict[str, list[str]] = {}
    for moment in (families, after):
        for family in moment:
            for sample in family.samples:
                labels = labelled(list(sample.labels), tuple(sample.labels.values()))
                values.setdefault(f"{sample.name}{labels}", []).append(repr(sample.value))
    first, second = summed(families, 0.0), summed(after, SPAN_S)
    asked = [question(one, answers(one, first, second)) for one in expressions()]
    test = {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": " ".join(both)} for name, both in values.items()
        ],
        "promql_expr_test": asked,
    }
    file = tmp_path / "test.yaml"
    file.write_text(json.dumps({"evaluation_interval": "1m", "tests": [test]}), "utf-8")
    assert "SUCCESS" in promtool("test", "rules", str(file))


@pytest.mark.parametrize(
    ("share", "buckets", "expected"),
    [
        (0.5, [(1.0, 10.0), (2.0, 20.0), (float("inf"), 20.0)], 1.0),
        (0.75, [(1.0, 10.0), (2.0, 20.0), (float("inf"), 20.0)], 1.5),
        (0.99, [(1.0, 0.0), (2.0, 0.0), (float("inf"), 5.0)], 2.0),
        (0.5, [(1.0, 0.0), (float("inf"), 0.0)], None),
        (0.5, [(float("inf"), 3.0)], None),
    ],
)
def test_a_quantile_lies_evenly_within_its_bucket(
    share: float, buckets: list[tuple[float, float]], expected: float | None
) -> None:
    assert quantile(share, buckets) == expected
