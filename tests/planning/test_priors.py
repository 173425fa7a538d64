"""The laws that predict where the user names none, and their tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from phiscale.arch.families import get_spec
from phiscale.errors import DataError
from phiscale.planning import priors
from phiscale.planning.budget import Budget, PlanningTask, solve
from phiscale.planning.priors import law_for, photos_law, published_law, read_runs, small_law

SMALL, B0 = get_spec("small"), get_spec("efficientnet_b0")


@pytest.fixture
def without_cached_laws() -> Iterator[None]:
    """Laws are cached; a test with other tables leaves none in the cache."""
    for law in (photos_law, small_law):
        law.cache_clear()
    yield
    for law in (photos_law, small_law):
        law.cache_clear()


def table(path: Path, rows: object) -> Path:
    path.write_text(json.dumps({"command": "python ...", "rows": rows}))
    return path


def run(
    seen: int,
    depth: float = 1,
    width: float = 1,
    resolution: float = 1,
    seed: int = 0,
    *,
    error: float,
) -> dict[str, float]:
    return {
        "depth": depth,
        "width": width,
        "resolution": resolution,
        "images_seen": seen,
        "seed": seed,
        "error": error,
    }


def test_scalings_of_b0_follow_the_published_law_and_those_of_small_our_own_runs() -> None:
    assert law_for(B0, lengths=False) is published_law()
    assert law_for(B0) is photos_law()
    assert law_for(SMALL) is law_for(SMALL, lengths=False) is small_law()
    assert photos_law().depth == published_law().depth != small_law().depth


@pytest.mark.parametrize("law", [photos_law, small_law])
def test_longer_training_lowers_the_error_at_the_level_of_our_runs(law: object) -> None:
    fitted = law()  # type: ignore[operator]
    for each in read_runs(priors.SMALL_RUNS):
        if each.depth == each.width == each.resolution == 1:
            predicted = fitted.error(depth=1, width=1, resolution=1, images=each.images_seen)
            assert predicted == pytest.approx(each.error, abs=0.03)


def test_the_law_of_small_predicts_our_runs_within_its_sd() -> None:
    off = [
        small_law().error(
            depth=each.depth, width=each.width, resolution=each.resolution, images=each.images_seen
        )
        - each.error
        for each in read_runs(priors.SMALL_RUNS)
    ]
    assert len(off) >= 8
    assert max(abs(each) for each in off) < small_law().sd


def test_no_more_pixels_are_recommended_than_the_images_have() -> None:
    assert solve(SMALL, Budget(macs=10_000_000)).best.spec.resolution <= SMALL.resolution
    larger = solve(SMALL, Budget(macs=10_000_000), task=PlanningTask(native_pixels=64)).best
    assert larger.spec.resolution > SMALL.resolution


@pytest.mark.usefixtures("without_cached_laws")
def test_a_law_is_recovered_from_runs_that_follow_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def error(seen: float, depth: float, width: float, resolution: float) -> float:
        return 0.05 + 0.02 / depth + 0.06 / width + 0.08 / resolution + 1000 / seen

    shapes = [(1, 1, 1), (2, 1, 1), (0.5, 1, 1), (1, 2, 1), (1, 1.5, 1), (1, 1, 0.75), (1, 1, 2)]
    rows = [run(seen, 1, 1, 1, error=error(seen, 1, 1, 1)) for seen in (10_000, 20_000)]
    rows += [run(50_000, *shape, error=error(50_000, *shape)) for shape in shapes]
    monkeypatch.setattr(priors, "SMALL_RUNS", table(tmp_path / "runs.json", rows))
    fitted = small_law()
    for depth, width, resolution in ((1, 1, 1), (1.5, 1.5, 1), (0.75, 2, 1.5)):
        predicted = fitted.error(depth=depth, width=width, resolution=resolution, images=40_000)
        assert predicted == pytest.approx(error(40_000, depth, width, resolution), abs=5e-3)
    assert "small" in fitted.source


@pytest.mark.usefixtures("without_cached_laws")
def test_without_the_runs_there_is_no_law_and_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(priors, "SMALL_RUNS", tmp_path / "none.json")
    for law in (photos_law, small_law):
        with pytest.raises(DataError, match=r"none\.json is missing.*as `law`"):
            law()


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (None, "has no rows"),
        ([{"images_seen": 1000}], "has no rows"),
        ([run(1000, error=0.1) | {"images_seen": "many"}], "has no rows"),
        ([run(1000, error=10.5)], "outside 0 to 1"),
        ([run(0, error=0.5)], "no images seen"),
    ],
)
def test_a_table_of_runs_that_is_broken_is_refused(rows: object, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        read_runs(table(tmp_path / "runs.json", rows))
