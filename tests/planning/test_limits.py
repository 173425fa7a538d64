"""Limits: what they accept, how counts and sizes are read, how they are written."""

from __future__ import annotations

import pytest

from phiscale.errors import UsageError
from phiscale.planning.budget import Budget, Limit, budget_of, parse_bytes, parse_count

LIMITS = ("macs", "params", "latency_ms", "weight_bytes", "train_memory_bytes", "train_minutes")


def test_a_limit_that_is_narrowly_exceeded_is_written_with_enough_digits() -> None:
    assert str(Limit("macs", 400_000_001, 400_000_000)) == "macs 400.000001M > 400M"
    assert str(Limit("weight_bytes", 20.5e6, 20e6)) == "weight_bytes 20.5MB > 20MB"
    assert str(Limit("train_minutes", 1500, 10)) == "train_minutes 1500 > 10"


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True])
@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_a_number_above_zero(name: str, value: float) -> None:
    with pytest.raises(
        UsageError, match=rf"{name}={value} is not a finite number above 0.*leave it out"
    ):
        Budget(**{name: value})


def test_a_count_below_one_is_refused_since_its_unit_was_forgotten() -> None:
    with pytest.raises(UsageError, match=r"macs=0\.4 is less than 1.*400e6"):
        Budget(macs=0.4)
    assert Budget(latency_ms=0.4, train_minutes=0.5).limits == {
        "latency_ms": 0.4,
        "train_minutes": 0.5,
    }


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("400M", 400_000_000),
        ("1.8G", 1_800_000_000),
        ("1.8b", 1_800_000_000),
        ("5k", 5000),
        (" 2 T ", 2 * 10**12),
        ("123", 123),
        ("1e9", 10**9),
        (".5M", 500_000),
        ("3.M", 3_000_000),
    ],
)
def test_counts_are_read(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20MB", 20_000_000),
        ("20MiB", 20 * 2**20),
        ("20", 20),
        ("1.5 gb", 1_500_000_000),
        ("1GiB", 2**30),
        ("64KiB", 65536),
        ("7B", 7),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "M", "400 MB", "-4M", "4X", "nan", "inf", "1,8G", "4M4", "0", "0.1", "1e99", "1e999"],
)
def test_a_text_that_is_not_a_count_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a count.*400M or 1\.8G"):
        parse_count(text)


@pytest.mark.parametrize("text", ["20M", "20 megabytes", "twenty", "0MB", "20iB"])
def test_a_text_that_is_not_a_size_is_refused_with_both_kinds(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a size.*20MB \(10\^6\) or 20MiB \(2\^20\)"):
        parse_bytes(text)


def test_limits_are_numbers_or_text_with_a_unit() -> None:
    assert budget_of({"macs": "400M", "weight_bytes": "20MB", "latency_ms": 5}) == Budget(
        macs=400_000_000, weight_bytes=20_000_000, latency_ms=5
    )
    assert budget_of({"macs": None}, Budget(params=5)) == Budget(params=5)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"macs": "lots"}, r"^macs='lots' is not a count\. Use one such as 400M"),
        ({"latency_ms": "5"}, r"^latency_ms='5' is text\. Use a number"),
        ({"params": 9}, r"^`params` is in `budget` too"),
    ],
)
def test_a_limit_that_is_no_number_is_named(
    limits: dict[str, float | str | None], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        budget_of(limits, Budget(params=5))
