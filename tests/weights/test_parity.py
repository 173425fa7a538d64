"""docs/parity.md is current and green; the rows themselves take an hour to make."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def parity(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("parity")


@pytest.fixture
def rows() -> list[dict]:
    return json.loads((ROOT / "docs" / "parity.json").read_text())


def test_the_report_follows_from_its_rows(parity: ModuleType, rows: list[dict]):
    total = len(list(parity.pairs()))
    assert parity.report(rows, total) == (ROOT / "docs" / "parity.md").read_text(encoding="utf-8")


def test_every_network_that_a_peer_has_is_compared_and_within_the_bound(
    parity: ModuleType, rows: list[dict]
):
    assert {row["key"] for row in rows} == {pair.key for pair in parity.pairs()}
    assert [row["key"] for row in rows if not parity.passes(row)] == []
    assert all(len(row["eval"]) == 3 for row in rows)


@pytest.mark.parametrize("spoilt", [float("nan"), 1e-4])
def test_a_row_that_differs_fails_the_comparison(
    parity: ModuleType, rows: list[dict], spoilt: float
):
    row = rows[0]
    assert parity.passes(row)
    step = row | {"train": row["train"] | {"gradient": spoilt}}
    size = next(iter(row["eval"]))
    answer = row | {"eval": row["eval"] | {size: {"float64": spoilt, "float32": 0.0}}}
    assert not parity.passes(step) and not parity.passes(answer)
    assert "**differs**" in parity.report([answer], 1)
