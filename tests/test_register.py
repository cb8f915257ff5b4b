from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from certification.errors import UsageError
from certification.model import Category, DutyKind
from certification.register import load_register

if TYPE_CHECKING:
    from pathlib import Path

FAMILIES = {
    "SYS": 11,
    "HAR": 11,
    "E2E": 8,
    "INT-PT": 50,
    "INT": 11,
    "PERF-OP": 16,
    "PERF": 16,
    "SEC-AUTHN": 5,
    "SEC-AUTHZ": 5,
    "SEC-DATA": 5,
    "SEC-INPUT": 5,
    "SEC-AUDIT": 5,
    "SEC-COMP": 5,
    "SEC-VULN": 10,
    "SEC-OWASP": 10,
    "SEC-API": 10,
    "SEC": 1,
    "REL": 12,
    "MON-METRIC": 5,
    "MON-LOG": 5,
    "MON-ALERT": 5,
    "MON-DASH": 5,
    "MON-TRACE": 5,
    "MON": 5,
    "DOC-ARCH": 5,
    "DOC-API": 5,
    "DOC-USER": 5,
    "DOC-OPS": 5,
    "DOC-DEV": 5,
    "DOC": 2,
    "OPS": 3,
    "CERT": 12,
}
"""How many ids each family has; a family is the longest name here that an id starts with."""

SINGLES = """
SYS-ACC SYS-TXN SYS-GRO SYS-ANA SYS-SEC SYS-INT SYS-EXT SYS-MON SYS-HEAL SYS-OPT SYS-OPS
HAR-CASE HAR-DATA HAR-EXEC HAR-REP HAR-MON HAR-CAT HAR-TRACE HAR-DEF HAR-COMP HAR-INST HAR-EFF
E2E-LIFE E2E-TXN E2E-GRO E2E-ANA E2E-SEC E2E-INT E2E-LOAD E2E-ERR
INT-COV INT-RATE INT-LAT INT-TPUT INT-RES INT-COMM INT-E2E INT-REC INT-COMP INT-SIM INT-BUDGET
PERF-PCT PERF-STRETCH PERF-CONC PERF-USERS PERF-RES PERF-CACHE PERF-SCALE PERF-DATA PERF-ERR
PERF-ENDUR PERF-STRESS PERF-WS1 PERF-P4 PERF-BASE PERF-OPT PERF-KEEP
SEC-WEB REL-DB REL-EXT REL-LOAD REL-DATA REL-NET REL-MEAN REL-INTEG REL-AVAIL REL-HEAL REL-HA
REL-DR REL-DET MON-COV MON-EFF MON-THR MON-ROUTE MON-TRUE DOC-MORE DOC-TRUE
OPS-BACKUP OPS-INC OPS-DEPLOY CERT-WEIGHT CERT-FUNC CERT-READY CERT-REF CERT-GOLD CERT-DEFECT
CERT-OPS CERT-GOLIVE CERT-DOC CERT-DELIV CERT-REC CERT-LOW
"""

CROSSED = [
    *(
        f"INT-PT-{point}-{way}"
        for point in [
            "DB",
            "API",
            "ANA",
            "SEC",
            "MON",
            "STRATEGY",
            "MARKET",
            "USERS",
            "NOTIFY",
            "REPORT",
        ]
        for way in ["CONN", "DATA", "PERF", "SEC", "ERR"]
    ),
    *(
        f"PERF-OP-{operation}-{measure}"
        for operation in ["CREATE", "GET", "UPDATE", "TXN", "ANA", "FORK", "MERGE", "REINVEST"]
        for measure in ("TPUT", "LAT")
    ),
    *(f"SEC-OWASP-A{number:02}" for number in range(1, 11)),
    *(f"SEC-API-{number}" for number in range(1, 11)),
    *(f"DOC-{d}-{part}" for d in ["ARCH", "API", "USER", "OPS", "DEV"] for part in range(1, 6)),
]


def family(requirement_id: str) -> str:
    return max((name for name in FAMILIES if requirement_id.startswith(f"{name}-")), key=len)


def test_no_family_has_lost_or_gained_a_requirement() -> None:
    assert Counter(family(row.id) for row in load_register()) == FAMILIES


def test_every_requirement_that_has_a_name_of_its_own_or_is_crossed_is_there() -> None:
    ids = {row.id for row in load_register()}
    assert not {*SINGLES.split(), *CROSSED} - ids


def test_the_critical_scenarios_are_those_that_guard_money_and_the_way_back() -> None:
    critical = {row.id for row in load_register() if row.critical}
    assert critical == {"E2E-LIFE", "E2E-TXN", "E2E-GRO", "E2E-SEC", "E2E-ERR"}


def test_duties_of_the_harness_are_not_scored_and_what_a_target_owes_is() -> None:
    for row in load_register():
        if row.kind is DutyKind.OWN_TEST:
            assert row.category is None, row.id
        if row.kind is DutyKind.CHECK:
            assert row.category is not None, row.id
        if row.id.startswith(("HAR-", "CERT-")):
            assert row.kind in (DutyKind.OWN_TEST, DutyKind.ATTESTATION), row.id


@pytest.mark.parametrize(
    ("prefix", "category"),
    [
        ("SYS-", Category.FUNCTIONALITY),
        ("E2E-", Category.FUNCTIONALITY),
        ("INT-", Category.FUNCTIONALITY),
        ("PERF-", Category.PERFORMANCE),
        ("SEC-", Category.SECURITY),
        ("REL-", Category.RELIABILITY),
        ("MON-", Category.MONITORING),
        ("DOC-", Category.DOCUMENTATION),
    ],
)
def test_each_family_is_scored_in_one_category(prefix: str, category: Category) -> None:
    rows = [row for row in load_register() if row.id.startswith(prefix) and row.category]
    assert rows
    assert {row.category for row in rows} == {category}


def test_attestations_are_at_most_a_fifth_of_any_category() -> None:
    for category in Category:
        rows = [row for row in load_register() if row.category is category]
        signed = [row for row in rows if row.kind is DutyKind.ATTESTATION]
        assert len(signed) * 5 <= len(rows)


GOOD = """[[requirement]]
id = "SYS-ACC"
text = "Accounts"
category = "functionality"
kind = "check"
source = "ours"
"""


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (GOOD + 'owner = "me"\n', 7, "unknown key"),
        (GOOD + "\n" + GOOD, 9, "'SYS-ACC' is there twice, first on line 2"),
        (GOOD.replace("functionality", "speed"), 4, "'speed' is not one of functionality, "),
        (GOOD.replace('"check"', '"hope"'), 5, "'hope' is not one of check, "),
        (GOOD.replace('"check"', '"not-tested"'), 1, "does not say why"),
        (GOOD.replace('"check"', '"attestation"'), 1, "does not say why"),
        (GOOD + 'reason = "because"\n', 7, "needs no reason"),
        (GOOD + 'critical = "very"\n', 7, "'very' is not true or false"),
        (GOOD.replace('category = "functionality"\n', ""), 1, "no category"),
        (GOOD.replace('text = "Accounts"\n', ""), 1, "the key 'text' is missing"),
        (GOOD.replace("SYS-ACC", "accounts"), 2, "'accounts' is no id"),
    ],
)
def test_a_mistake_in_the_register_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    path = tmp_path / "requirements.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as raised:
        load_register(path)
    assert f"requirements.toml:{line}: " in raised.value.message
    assert message in raised.value.message


@pytest.mark.parametrize("text", ["", "requirement = 3\n", "[other]\nx = 1\n"])
def test_a_file_without_requirements_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "requirements.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"requirements\.toml"):
        load_register(path)
