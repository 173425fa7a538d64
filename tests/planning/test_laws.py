"""Error laws: those of the published table, and how a law is fitted, written and refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phiscale.arch.families import get_spec
from phiscale.arch.families.published import LAW_ROWS
from phiscale.arch.scaling import scale
from phiscale.errors import PhiscaleError, UsageError
from phiscale.planning.laws import Law, LawRow, Term, estimate_law, fit_lengths
from phiscale.planning.priors import PUBLISHED_ROWS, published_law

LAW = Law(
    e0=0.15,
    depth=Term(0.02, 2.0),
    width=Term(0.03, 1.5),
    resolution=Term(0.04, 1.0),
    images=Term(0.05, 0.5),
    sd=0.003,
    source="a test",
)
B0_TO_B3, B4_TO_B7, ARMS = PUBLISHED_ROWS[:4], PUBLISHED_ROWS[4:8], PUBLISHED_ROWS[8:]


def predicted(law: Law, row: LawRow) -> float:
    return law.error(depth=row.depth, width=row.width, resolution=row.resolution)


def rmse(law: Law, rows: tuple[LawRow, ...]) -> float:
    return math.sqrt(sum((predicted(law, row) - row.error) ** 2 for row in rows) / len(rows))


def nominal(rows: tuple[LawRow, ...]) -> tuple[LawRow, ...]:
    depths = dict(
        zip(
            (row.name for row in PUBLISHED_ROWS),
            (1, 1.1, 1.2, 1.4, 1.8, 2.2, 2.6, 3.1, 4, 1, 1),
            strict=True,
        )
    )
    return tuple(replace(row, depth=depths[row.name]) for row in rows)


# The published table


def test_the_published_rows_are_those_of_the_models_counted_as_built() -> None:
    assert len(LAW_ROWS) == len(PUBLISHED_ROWS) == 11
    for published, row in zip(LAW_ROWS, PUBLISHED_ROWS, strict=True):
        base = get_spec(published.base)
        net = scale(base, published.scaling)
        pairs = zip(net.stages, base.stages, strict=True)
        squares = sum(old.repeats * new.channels**2 for new, old in pairs)
        width = math.sqrt(squares / sum(old.repeats * old.channels**2 for old in base.stages))
        counted = (net.blocks / base.blocks, width, net.resolution / base.resolution)
        assert (row.depth, row.width, row.resolution) == pytest.approx(counted, abs=5e-5), row.name
        assert row.error == pytest.approx(published.error, abs=1e-9), row.name


def test_the_law_explains_all_eleven_published_rows() -> None:
    assert rmse(published_law(), PUBLISHED_ROWS) <= 0.0017


def test_the_published_table_fits_worse_with_nominal_depths_than_with_blocks_as_built() -> None:
    rows = nominal(PUBLISHED_ROWS)
    assert rmse(estimate_law(rows), rows) == pytest.approx(0.0029, abs=0.0003)


def test_fitted_on_b0_to_b3_and_three_arms_it_predicts_b4_to_b7() -> None:
    law = estimate_law(B0_TO_B3 + ARMS)
    for row in B4_TO_B7:
        assert predicted(law, row) == pytest.approx(row.error, abs=0.0025), row.name


def test_fitted_on_b0_to_b5_and_three_arms_it_predicts_b6_and_b7() -> None:
    law = estimate_law(PUBLISHED_ROWS[:6] + ARMS)
    for row in PUBLISHED_ROWS[6:8]:
        assert predicted(law, row) == pytest.approx(row.error, abs=0.0025), row.name


@pytest.mark.parametrize(
    ("rows", "expected", "within"),
    [
        (PUBLISHED_ROWS, (1.22, 1.12, 1.14), 0.01),
        (PUBLISHED_ROWS, (1.2, 1.1, 1.15), 0.06),  # the paper's grid search
        (B0_TO_B3 + ARMS, (1.2, 1.1, 1.15), 0.06),
        (B0_TO_B3[:1] + ARMS, (1.2, 1.1, 1.15), 0.075),  # four trainings give the direction
    ],
)
def test_its_optimum_at_b3s_compute_is_near_the_papers_coefficients(
    rows: tuple[LawRow, ...], expected: tuple[float, float, float], within: float
) -> None:
    best = estimate_law(rows).optimum(4.67)
    phi = math.log2(4.67)
    powers = [each ** (1 / phi) for each in (best.depth, best.width, best.resolution)]
    assert powers == pytest.approx(expected, abs=within)


def test_four_trainings_do_not_give_the_level_and_the_sd_covers_the_difference() -> None:
    law = estimate_law(B0_TO_B3[:1] + ARMS)
    b3 = PUBLISHED_ROWS[3]
    assert predicted(law, b3) - b3.error > 0.01
    assert law.sd > abs(predicted(law, b3) - b3.error)


def test_the_typical_error_of_the_published_law_is_about_half_a_point() -> None:
    assert 0.0025 <= published_law().sd <= 0.008


# Fits


def rows_of(law: Law, noise: float = 0.0) -> list[LawRow]:
    spots = [
        *((d, 1, 1) for d in (0.5, 1, 2, 4)),
        *((1, w, 1) for w in (0.5, 1.4, 2)),
        *((1, 1, r) for r in (0.5, 1.4, 2)),
        (2, 1.4, 1.4),
        (0.5, 0.7, 0.7),
        (3, 2, 2),
    ]
    random = np.random.default_rng(0)
    rows = (LawRow(depth=d, width=w, resolution=r, error=0.0) for d, w, r in spots)
    return [replace(row, error=predicted(law, row) + noise * random.normal()) for row in rows]


def test_a_law_is_recovered_from_its_own_errors() -> None:
    fitted = estimate_law(rows_of(LAW), run_sd=0.0005)
    for depth, width, resolution in ((1.5, 1.2, 1.2), (3, 1.5, 1.7), (0.7, 0.8, 0.9)):
        at = {"depth": depth, "width": width, "resolution": resolution}
        assert fitted.error(**at) == pytest.approx(LAW.error(**at), abs=0.001)


def test_rows_of_more_runs_count_more() -> None:
    rows = rows_of(LAW)
    off = replace(rows[-1], error=rows[-1].error + 0.02)
    light, heavy = (estimate_law([*rows[:-1], replace(off, runs=runs)]) for runs in (0.01, 100))
    misses = [abs(predicted(law, off) - off.error) for law in (light, heavy)]
    assert misses[1] < misses[0] / 2


def test_the_sd_grows_with_noise_and_is_never_below_that_of_a_run() -> None:
    calm, noisy = (
        estimate_law(rows_of(LAW), run_sd=0.001),
        estimate_law(rows_of(LAW, 0.02), run_sd=0.001),
    )
    assert 0.001 <= calm.sd < noisy.sd


def test_coefficients_are_never_negative() -> None:
    rows = [replace(row, error=0.2 + 0.01 * row.depth) for row in rows_of(LAW)]  # deeper is worse
    law = estimate_law(rows)
    assert min(law.e0, law.depth.A, law.width.A, law.resolution.A) >= 0


def test_networks_on_one_ray_can_be_fitted_though_their_terms_are_confounded() -> None:
    rows = [
        LawRow(depth=x, width=x, resolution=x, error=0.1 + 0.1 / x) for x in (1, 1.3, 1.7, 2.2, 3)
    ]
    law = estimate_law(rows)
    assert rmse(law, tuple(rows)) < 0.003


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (PUBLISHED_ROWS[:3], "3 rows cannot fit.*at least 4"),
        (PUBLISHED_ROWS[:1] * 5, "all rows have depth 1.*another depth"),
        (PUBLISHED_ROWS[8:9] + PUBLISHED_ROWS[:1] * 4, "all rows have width 1.*another width"),
        ([*PUBLISHED_ROWS, LawRow(depth=0, width=1, resolution=1, error=0.1)], "above 0.*remove"),
        ([*PUBLISHED_ROWS, LawRow(depth=1, width=1, resolution=1, error=math.nan)], "not a number"),
    ],
)
def test_rows_that_cannot_be_fitted_are_refused(rows: list[LawRow], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        estimate_law(rows)


# A law


def test_floats_and_arrays_give_the_same_errors() -> None:
    depth, width = np.array([1.0, 2.0])[:, None], np.array([1.0, 1.5, 2.0])[None, :]
    errors = LAW.error(depth=depth, width=width, resolution=1.2, images=2e6)
    assert errors.shape == (2, 3)
    assert errors[1, 2] == pytest.approx(LAW.error(depth=2, width=2, resolution=1.2, images=2e6))


def test_images_count_in_their_unit_and_are_left_out_when_unknown() -> None:
    at = {"depth": 1.0, "width": 1.0, "resolution": 1.0}
    assert LAW.error(**at) == pytest.approx(0.15 + 0.02 + 0.03 + 0.04)
    assert LAW.error(**at, images=4e6) - LAW.error(**at) == pytest.approx(0.05 / 2)


@given(st.floats(1.01, 100), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3))
def test_no_other_split_of_the_compute_beats_the_optimum(
    compute: float, more_depth: float, more_width: float
) -> None:
    best = LAW.optimum(compute)
    assert best.macs == pytest.approx(compute)
    depth, width = best.depth * math.exp(more_depth), best.width * math.exp(more_width)
    resolution = math.sqrt(compute / depth) / width
    other = LAW.error(depth=depth, width=width, resolution=resolution)
    least = LAW.error(depth=best.depth, width=best.width, resolution=best.resolution)
    assert least <= other + 1e-12


@pytest.mark.parametrize("compute", [0.0, -1.0, math.nan, math.inf])
def test_no_optimum_at_a_compute_ratio_that_is_not_above_zero(compute: float) -> None:
    with pytest.raises(UsageError, match="no optimum"):
        LAW.optimum(compute)


def test_no_optimum_where_a_dimension_lowers_no_error() -> None:
    with pytest.raises(UsageError, match="above 0"):
        replace(LAW, width=Term(0.0, 1.0)).optimum(2.0)


positive = st.floats(1e-6, 10)


@given(st.tuples(positive, positive, positive, positive), positive, st.text())
def test_a_law_survives_json(numbers: tuple[float, ...], sd: float, source: str) -> None:
    a, b, c, d = numbers
    law = Law(
        e0=a,
        depth=Term(a, b),
        width=Term(b, c),
        resolution=Term(c, d),
        images=Term(d, a),
        images_unit=b,
        sd=sd,
        source=source,
    )
    assert Law.from_dict(json.loads(json.dumps(law.to_dict()))) == law


def test_a_law_is_written_to_a_file_and_read_back(tmp_path: Path) -> None:
    LAW.write(tmp_path / "law.json")
    assert Law.read(tmp_path / "law.json") == LAW


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"phiscale_law": 2}, '"phiscale_law" is 2, not 1.*phiscale law fit.*update'),
        ({"e1": 0.1}, "it has unknown fields 'e1'"),
        ({"sd": None}, "sd is None, not a number"),
        ({"depth": {"A": 0.1}}, "depth lacks 'p'"),
        ({"depth": {"A": -0.1, "p": 1}}, "A=-0.1.*0 or more"),
        ({"depth": {"A": 0.1, "p": 0}}, "p=0.*above 0"),
        ({"e0": math.inf}, "e0 is inf, not a finite number"),
        ({"images_unit": 0}, "images_unit=0.*1e6"),
    ],
)
def test_a_file_that_is_not_a_law_is_refused_and_the_message_says_what_to_write(
    change: dict[str, object], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "law.json"
    path.write_text(json.dumps({**LAW.to_dict(), **change}))
    with pytest.raises(UsageError, match=says):
        Law.read(path)


def test_a_law_file_that_is_missing_or_no_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(PhiscaleError, match=r"law\.json"):
        Law.read(tmp_path / "law.json")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(UsageError, match=r"list\.json holds \[1\] instead of a JSON.*law fit"):
        Law.read(tmp_path / "list.json")


# Images seen


@given(st.floats(0.02, 0.3), st.floats(0.01, 0.2), st.floats(0.2, 1.5))
@settings(max_examples=20)
def test_the_images_term_is_fitted_to_three_lengths(floor: float, A: float, p: float) -> None:
    rows = [(seen, floor + A * (seen / 1e5) ** -p) for seen in (2e4, 1e5, 5e5) for _ in range(3)]
    left, term = fit_lengths(rows, images_unit=1e5)
    for seen in (3e4, 3e5):
        gain = term(seen / 1e5) - term(1.0)
        assert gain == pytest.approx(A * (seen / 1e5) ** -p - A, abs=0.05 * A + 1e-4)
        whole = floor + A * (seen / 1e5) ** -p
        assert left + term(seen / 1e5) == pytest.approx(whole, abs=0.05 * A + 1e-4)


def test_seeds_are_pooled() -> None:
    rows = [(seen, 0.1 + 0.05 * (seen / 1e5) ** -0.5) for seen in (2e4, 1e5, 5e5)]
    spread = [(seen, error + off) for seen, error in rows for off in (-0.01, 0.01)]
    (_, one), (_, both) = fit_lengths(rows, 1e5), fit_lengths(spread, 1e5)
    assert both.p == one.p
    assert pytest.approx(one.A, rel=1e-6) == both.A


def test_a_network_that_does_not_learn_from_more_images_gets_no_gain_from_them() -> None:
    left, term = fit_lengths([(1e4, 0.1), (1e5, 0.2), (1e6, 0.3)])
    assert (left, term.A) == pytest.approx((0.2, 0), abs=1e-9)


def test_two_lengths_do_not_make_an_images_term() -> None:
    with pytest.raises(UsageError, match=r"2 lengths.*3 lengths or more"):
        fit_lengths([(1e4, 0.3), (1e4, 0.31), (1e5, 0.2)])
