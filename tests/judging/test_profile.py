from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from certification.errors import UsageError
from certification.model import Category
from certification.profile import PROFILES, load_profile, parse_profile, shipped_profiles
from tests.judging.made import document

if TYPE_CHECKING:
    from pathlib import Path

STANDARD = load_profile("standard")


def edited(tmp_path: Path, old: str, new: str, base: str = "standard") -> Path:
    """Copy a shipped profile with one text replaced."""
    text = (PROFILES / f"{base}.toml").read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1))
    return path


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as raised:
        load_profile(str(path))
    return raised.value.message


@pytest.mark.parametrize("name", shipped_profiles())
def test_shipped_profiles_are_read_and_survive_the_evidence(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert parse_profile(profile.document) == profile
    assert sum(rule.weight for rule in profile.categories.values()) == 1


def test_the_profiles_of_the_design_are_there() -> None:
    assert set(shipped_profiles()) >= {"smoke", "standard", "gold", "ws3-2025"}
    for name, level, bottom in (
        ("smoke", "SMOKE_PASSED", "SMOKE_FAILED"),
        ("standard", "PRODUCTION_READY", "NOT_READY"),
        ("gold", "GOLD_STANDARD", "NOT_READY"),
    ):
        profile = load_profile(name)
        assert (profile.default_level, profile.levels_otherwise) == (level, bottom)
    weights = {c: rule.weight for c, rule in load_profile("ws3-2025").categories.items()}
    assert weights[Category.DOCUMENTATION] == Fraction(1, 10)
    assert weights[Category.RELIABILITY] == Fraction(3, 20)


def test_numbers_are_exact_and_texts_are_too(tmp_path: Path) -> None:
    profile = load_profile(str(edited(tmp_path, "total = 0.94", 'total = "19/20"')))
    assert profile.reference_total == Fraction(19, 20)
    assert STANDARD.reference_total == Fraction(47, 50)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weight = 0.10", "weight = 0.11", r"mine.toml:\d+: categories: .*add up to 101/100"),
        ("weight = 0.10", "weight = 0", r"categories.documentation.weight: 0 would let it drop"),
        ("weight = 0.10", "weight = -0.1", r"weight: -1/10 is not between 0"),
        ("weight = 0.10", "weight = true", r"weight: True is not a number"),
        ("weight = 0.10", 'weight = "1/0"', r"weight: '1/0' is not a number"),
        ("weight = 0.10", "weight = 1e999999999", r"not TOML: .*plain decimal"),
        ("weight = 0.10", "weight = nan", r"not TOML: .*plain decimal"),
        ("weight = 0.10", "wieght = 0.10", r"documentation: the key 'weight' is missing"),
        ("floor = 0.85", "flor = 0.85", r"mine.toml:\d+: categories.functionality.flor: unknown"),
        ("floor = 0.85", "floor = 1.5", r"floor: 3/2 is not between 0 and 1"),
        ("[categories.security]", "[categories.secrecy]", r"categories.secrecy: unknown category"),
        ('scope = "register"', 'scope = "all"', r"scope: 'all' is not one of register, selected"),
        ('["core"]', '["kernel"]', r"modules.required\[0\]: 'kernel' is not one of core, growth"),
        ('"PRODUCTION_READY"', '"GREAT"', r"default_level: 'GREAT' is not one of PRODUCTION"),
        ('double_spend = "NOT_READY"', 'double_spend = "X"', r"vetoes.double_spend: 'X' is not"),
        ("audit_gap =", "audit_hole =", r"vetoes.audit_hole: unknown key; .* audit_gap"),
        ('kind = "floors"', 'kind = "flours"', r"gates\[7\].kind: 'flours' is not one of total,"),
        ('kind = "floors"', 'kind = "floors", min = 1', r"gates\[7\].min: unknown key; .* kind"),
        ('op = ">", value = 0.90', 'op = "<"', r"gates\[0\].op: '<' is not one of >, >="),
        ("max = 9", "max = 0.5", r"gates\[5\].max: 1/2 is not a whole number"),
        ('"NEEDS_FIXES"', '"PRODUCTION_READY"', r"levels\[1\].name: .* is taken"),
        ('"NEEDS_FIXES"', '"INCONCLUSIVE"', r"levels\[1\].name: 'INCONCLUSIVE' is taken"),
        ("coverage_min = 0.75", "coverage_min = 0.76", r"coverage_min: 19/25 is above the total"),
        ("coverage_min = 0.75", "coverage_min = ", r"mine.toml: not TOML: .*line \d+"),
        ('flaky = "fail"', 'flaky = "pass"', r"flaky: 'pass' is not one of fail, inconclusive"),
        ('checks = ["*"]', "checks = []", r"checks: no check is planned"),
        ('checks = ["*"]', 'checks = "*"', r"checks: '\*' is not a list of texts"),
        ("attestation_share_max = 0.20", "attestation_share_max = 1", r"replace observation"),
        ('required = ["core"]', 'required = ["growth"]', r"growth cannot be required and opt"),
        ("version = 1", "version = 1.5", r"version: 3/2 is not a whole number"),
    ],
)
def test_a_mistake_is_named_by_file_line_and_key(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    found = refused(edited(tmp_path, old, new))
    assert re.search(message, found), found


def test_the_line_is_the_right_one(tmp_path: Path) -> None:
    path = edited(tmp_path, 'kind = "floors"', 'kind = "flours"')
    line = next(
        number for number, text in enumerate(path.read_text().splitlines(), 1) if "flours" in text
    )
    assert refused(path).startswith(f"{path}:{line}: levels[0].gates[7].kind: ")


def test_a_profile_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(UsageError, match="neither a shipped profile nor a file") as raised:
        load_profile("golden")
    assert "gold, smoke, standard" in str(raised.value.hint)


def test_a_profile_out_of_evidence_is_checked_too() -> None:
    with pytest.raises(UsageError, match="in the evidence: surprise: unknown key"):
        parse_profile(document(surprise=1))
    with pytest.raises(UsageError, match="is not a table"):
        parse_profile(document(categories=[1]))
    with pytest.raises(UsageError, match=r"0\.9 is not a number"):
        parse_profile(document(coverage_min=0.9))


def test_targets_and_trials_are_named_numbers() -> None:
    targets = {"get": {"metric": "get_p95", "op": "<", "value": "20", "unit": "ms"}}
    profile = parse_profile(document(targets=targets, trials={"kills": 59}, time_budget_s=60))
    assert (profile.targets[0].name, profile.targets[0].value) == ("get", Fraction(20))
    assert (profile.trials, profile.time_budget_s, profile.requests_max) == (
        {"kills": 59},
        60,
        None,
    )


def test_a_sample_is_fixed_by_the_ids_of_its_checks() -> None:
    ids = [f"functional/area/check-{number}" for number in range(600)]
    profile = parse_profile(document(sample={"one_in": 3, "always": ["*/check-1", "*/check-2"]}))
    planned = {name for name in ids if profile.plans(name)}
    assert 150 < len(planned) < 250
    assert {"functional/area/check-1", "functional/area/check-2"} <= planned
    everything = {name for name in ids if parse_profile(document()).plans(name)}
    assert everything == set(ids)


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"sample\.one_in: 0 is no share"):
        parse_profile(document(sample={"one_in": 0}))
