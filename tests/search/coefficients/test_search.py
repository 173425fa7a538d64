"""A search for coefficients from its plan to found.json, its trainings answered by a law that we
made: what it finds is held against what is true."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec
from phiscale.arch.scaling import STRATEGIES, Scaling, compound, scale
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.files import write_json
from phiscale.planning.budget import Budget, PlanningTask, solve
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceFingerprint, DeviceModel, Rates, Timing
from phiscale.planning.laws import Law, Term
from phiscale.planning.laws.checks import Checks
from phiscale.planning.laws.optimum import optima
from phiscale.planning.laws.sheet_file import read_sheet
from phiscale.search.coefficients import law as laws
from phiscale.search.coefficients import plan as planning
from phiscale.search.coefficients import search
from phiscale.search.coefficients.answer import derive_coefficients
from phiscale.search.coefficients.law import estimate_noise
from phiscale.search.coefficients.law_report import law_sections
from phiscale.search.coefficients.plan import SearchOutcome
from phiscale.search.coefficients.request import SearchRequest, plan_search
from phiscale.search.coefficients.search import search_coefficients
from phiscale.search.coefficients.sets import compare_sets
from phiscale.search.engine.folder import DatasetInfo, dataset_info
from phiscale.search.engine.result import Results
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.engine.trial import Trial
from phiscale.search.spaces.lattice import COSTS, cost_metric, lattice
from support.synthetic import complete_plan

SMALL = get_spec("small")
AT_16 = replace(SMALL, resolution=16)
SPACE_16 = lattice(AT_16, cost_metric("macs", None), native_pixels=32)
PICTURES = DatasetInfo(
    source="x",
    fingerprint="f",
    classes=tuple("abcdefghij"),
    native_pixels=32,
    train=45_000,
    validation=5_000,
    test_labels=np.arange(1000) % 10,
)
BEATEN = Checks(rms={"law": 0.02, "quadratic": 0.01}, rows=18, ahead={"quadratic": 4.0})
# width pays most, depth least
TRUTH = Law(
    e0=0.2,
    depth=Term(0.02, 1.0),
    width=Term(0.16, 1.0),
    resolution=Term(0.06, 1.0),
    sd=0,
    source="made",
)


def true_error(trial: Trial, law: Law = TRUTH, noise: float = 0.002) -> float:
    """By the multipliers that the trial says; best at a rate of 0.4."""
    by = {name: trial.attrs[name] for name in ("depth", "width", "resolution")}
    chance = np.random.default_rng(int(trial.key[:8], 16)).normal(0, noise)
    away = math.log2(trial.recipe.optim.lr_peak / 0.4)
    return float(law.error(**by) + 0.02 * away**2 + chance)


def searched(
    tmp_path: Path, noise: float = 0.002, **request
) -> tuple[SearchOutcome, list[Coefficients]]:
    plan = plan_search(SMALL, "x", SearchRequest(**request), PICTURES)
    outcome = complete_plan(
        plan,
        tmp_path,
        lambda trial: true_error(trial, noise=noise),
        PICTURES.test_labels,
    )
    return outcome, [derive_coefficients(plan, found, "command") for found in outcome.searched]


# What is found


def test_the_law_finds_what_is_true_within_its_intervals(tmp_path):
    _, [found] = searched(tmp_path)
    terms = (TRUTH.depth, TRUTH.width, TRUTH.resolution)
    p, a = (np.array([[getattr(term, name) for term in terms]]) for name in ("p", "A"))
    best = np.exp(optima(p, a, 2.0)[0])
    for name, value in zip(("alpha", "beta", "gamma"), best, strict=True):
        low, high = found.intervals[name]
        assert low - 0.02 <= value <= high + 0.02, name


def test_the_proposal_is_nearly_as_good_as_the_best_network_of_the_lattice(tmp_path):
    outcome, _ = searched(tmp_path)
    best = SPACE_16.best(TRUTH, 2.0)
    chosen = outcome.searched[0].proposal

    def error(by: Scaling) -> float:
        return TRUTH.error(depth=by.depth, width=by.width, resolution=by.resolution)

    assert error(chosen.by) - error(best.by) < 0.003


def test_both_methods_spend_no_more_than_their_units(tmp_path):
    outcome, _ = searched(tmp_path, methods=("lawscale", "grid"), units=14)
    for found in outcome.searched:
        assert 12 < found.units <= 14.0001, found.method


def test_rates_between_tuned_sizes_are_those_that_pay(tmp_path):
    outcome, _ = searched(tmp_path)
    for by in (Scaling(), Scaling(depth=2), Scaling(width=1.4)):
        assert outcome.rates.surface.at(by) == pytest.approx(0.4, rel=0.01)


def test_the_confirmation_holds_proposals_against_what_needs_no_search(tmp_path):
    outcome, _ = searched(tmp_path, methods=("lawscale", "grid"))
    assert {
        "lawscale proposal",
        "grid proposal",
        "paper ray",
        "equal-split baseline",
        "uniform",
        "dWr",
    } < outcome.confirmed.keys()
    for name, place in outcome.confirmed.items():
        assert place.cost_ratio == pytest.approx(2, rel=0.035), name
        assert len(outcome.of(name)) == 3


def test_a_dimension_that_does_not_pay_is_named(tmp_path):
    """Trainings too short for depth: deeper networks are worse."""

    def truth(trial: Trial) -> float:
        return true_error(trial) + 0.06 * math.log(trial.attrs["depth"])

    plan = plan_search(SMALL, "x", SearchRequest(), PICTURES)
    outcome = complete_plan(plan, tmp_path, truth, PICTURES.test_labels)
    [found] = outcome.searched
    assert found.fit is not None
    section, *_ = law_sections(plan, found, [derive_coefficients(plan, found, "command")])
    said = " ".join(section.text)
    assert "More depth does not lower the error of these trainings" in said
    assert "More width" not in said


def test_where_the_law_does_not_hold_the_second_round_goes_everywhere(tmp_path):
    """A dimension that pays all the more where another is large: nothing that adds up."""

    def bent(trial: Trial) -> float:
        width, resolution = (math.log(trial.attrs[name]) for name in ("width", "resolution"))
        return true_error(trial) - 0.3 * width * resolution

    plan = plan_search(SMALL, "x", SearchRequest(), PICTURES)
    [held], [found] = (
        complete_plan(plan, tmp_path / name, truth, PICTURES.test_labels).searched
        for name, truth in (("held", true_error), ("bent", bent))
    )
    assert found.explored_everywhere and not held.explored_everywhere
    section, *_ = law_sections(plan, found, [derive_coefficients(plan, found, "command")])
    assert "trained networks of all costs where the law was least sure" in " ".join(section.text)


def test_chance_is_at_least_what_so_many_validation_pictures_leave_open(tmp_path):
    outcome, _ = searched(tmp_path, noise=0.0)
    runs = outcome.searched[0].runs
    error = float(np.mean([run.error for run in runs]))
    few, many = estimate_noise(runs, 400), estimate_noise(runs, 10**9)
    assert few.source == "images" and few.run_sd == pytest.approx(math.sqrt(error / 800))
    assert many.run_sd < few.run_sd


def test_a_law_that_others_beat_gives_no_coefficients_far_beyond_its_trainings(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(laws, "law_checks", lambda found: BEATEN)
    data, out = tiny_set(tmp_path / "data"), tmp_path / "out"
    request = SearchRequest(compute=60)
    dataset = dataset_info(data, out)
    complete_plan(plan_search(SMALL, data, request, dataset), out, true_error, dataset.test_labels)
    with pytest.raises(UsageError, match=r"no found\.json: compute=60: .*Use a smaller"):
        search_coefficients(SMALL, data, request, RunnerConfig(out=out), command="c")
    stages = {run.attrs["stage"] for run in Results(out / "results").all().values()}
    assert "confirmation" not in stages, "not a training for an answer that is none"
    assert "cannot be trusted beyond 8x then" in (out / "report.md").read_text()
    assert {path.name for path in out.glob("*.json")} == {"plan.json", "base.json"}


def test_units_that_pay_for_no_grid_are_refused_before_anything_is_trained(tmp_path):
    data, out = tiny_set(tmp_path / "data"), tmp_path / "out"
    request = SearchRequest(compute=16, methods=("lawscale", "grid"))
    with pytest.raises(UsageError, match=r"units=14 pays for no grid .*Use units=3\d or more"):
        search_coefficients(SMALL, data, request, RunnerConfig(out=out), command="c")
    assert not out.exists()


def test_a_report_says_that_trainings_come_from_several_kinds_of_machine(tmp_path):
    data, out = tiny_set(tmp_path / "data"), tmp_path / "out"
    dataset, request = dataset_info(data, out), SearchRequest()
    plan = plan_search(SMALL, data, request, dataset)
    complete_plan(plan, out, true_error, dataset.test_labels)
    results = Results(out / "results")
    for key, run in results.all().items():
        kind = "old" if run.attrs["stage"] == "tuning" else "new"
        write_json(results.path(key), replace(run, made_by={"processor": kind}).to_dict())
    search_coefficients(SMALL, data, request, RunnerConfig(out=out), command="c")
    assert "Trained on several kinds of machine" in (out / "report.md").read_text()


def test_a_set_without_an_answer_does_not_keep_the_others_from_theirs(tmp_path, monkeypatch):
    sets = [tiny_set(tmp_path / name, seed) for seed, name in enumerate(("one", "other"))]

    def refused_first(found, compute):
        return "far out." if found.runs[0].key in of_one else ""

    monkeypatch.setattr(planning, "refusal_reason", refused_first)
    out, of_one = tmp_path / "out", set()
    for data in sets:
        dataset, request = dataset_info(data, out / Path(data).name), SearchRequest(seeds=0)
        complete_plan(
            plan_search(SMALL, data, request, dataset),
            out / Path(data).name,
            true_error,
            dataset.test_labels,
        )
        if data == sets[0]:
            of_one |= Results(out / "one" / "results").all().keys()
    with pytest.raises(UsageError, match=r"one has no coefficients\. far out\."):
        search_coefficients(SMALL, sets, SearchRequest(seeds=0), RunnerConfig(out=out), command="c")
    assert (out / "other" / "found.json").exists() and not (out / "one" / "found.json").exists()
    assert "one has no coefficients. far out." in (out / "report.md").read_text()


def test_a_confirmation_may_be_left_for_later(tmp_path):
    data, out = tiny_set(tmp_path / "data"), tmp_path / "out"
    dataset = dataset_info(data, out)

    def ran(seeds: int) -> Coefficients:
        request = SearchRequest(seeds=seeds)
        complete_plan(
            plan_search(SMALL, data, request, dataset), out, true_error, dataset.test_labels
        )
        return search_coefficients(SMALL, data, request, RunnerConfig(out=out), command="c").first

    found = ran(0)
    assert "## Not confirmed" in (out / "report.md").read_text()
    assert ran(3).powers == found.powers
    confirmed = (out / "report.md").read_text()
    assert "## Confirmed" in confirmed and "Looked at before" not in confirmed
    ran(4)
    assert "Looked at before with 3 seeds" in (out / "report.md").read_text()
    with pytest.raises(UsageError, match="seeds=1 has no spread"):
        SearchRequest(seeds=1)


def test_the_grids_answer_has_no_interval(tmp_path):
    _, [found] = searched(tmp_path, methods=("grid",))
    assert found.intervals is None
    assert found.growth == pytest.approx(2, abs=0.15)


def test_noise_makes_intervals_wide(tmp_path):
    def width(found: Coefficients) -> float:
        return sum(high - low for low, high in found.intervals.values())

    _, [quiet] = searched(tmp_path / "a", noise=0.0005)
    _, [loud] = searched(tmp_path / "b", noise=0.02)
    assert width(loud) > 2 * width(quiet)


def test_coefficients_for_shrinking_are_found_from_smaller_networks(tmp_path):
    outcome, [found] = searched(tmp_path, compute=0.5)
    assert outcome.searched[0].proposal.cost_ratio == pytest.approx(0.5, rel=0.1)
    assert found.at(-1).macs == pytest.approx(0.5, rel=0.02)


# Other cost metrics, other images


@pytest.mark.parametrize("metric", [metric for metric in COSTS if metric != "latency-ms"])
def test_any_cost_may_be_what_doubles(tmp_path, metric):
    outcome, [found] = searched(tmp_path, cost=metric)
    spec = outcome.searched[0].proposal.spec
    pay = cost_metric(metric, None)
    assert float(pay(cost(spec)) / pay(cost(AT_16))) == pytest.approx(2, rel=0.04)
    assert found.cost == metric


def test_parameters_cost_no_pixels_so_resolution_takes_more_of_them(tmp_path):
    _, [macs] = searched(tmp_path / "a")
    _, [params] = searched(tmp_path / "b", cost="params")
    assert params.gamma > macs.gamma


def test_what_doubles_may_be_the_latency_of_a_device_that_is_elsewhere(tmp_path):
    """Of one that only pays for activations, so that width is cheap."""
    rates = Rates(
        dense_macs=0, depthwise_macs=0, activations=1e-6, weight_bytes=0, convs=0, constant=0.001
    )
    where = DeviceFingerprint(
        device="made up", cores=1, threads=1, runtime="onnxruntime", torch="2", date="2026-01-01"
    )
    timing = Timing(rates=rates, median_error=0.05, max_error=0.2)
    device = DeviceModel(fingerprint=where, latency=timing, training=timing, training_batch=64)
    outcome, [found] = searched(tmp_path, cost="latency-ms", device=device)
    spec = outcome.searched[0].proposal.spec
    pay = cost_metric("latency-ms", device)
    assert float(pay(cost(spec)) / pay(cost(AT_16))) == pytest.approx(2, rel=0.04)
    assert found.beta > 1.5  # sqrt 2 is what MACs allow at most


def test_latency_needs_a_model_of_the_device():
    with pytest.raises(UsageError, match=r"phiscale calibrate --out device\.json"):
        cost_metric("latency-ms", None)


def test_two_sets_whose_laws_differ_are_told_apart_and_like_ones_are_not(tmp_path):
    _, [wide] = searched(tmp_path / "a")
    _, [again] = searched(tmp_path / "b", epochs=7)  # other trainings of the same truth
    deep = replace(
        wide,
        alpha=1.9,
        beta=1.01,
        gamma=1.01,
        intervals={"alpha": (1.8, 2.0), "beta": (1.0, 1.02), "gamma": (1.0, 1.02)},
    )
    assert "they differ" in "\n".join(compare_sets({"one": wide, "other": deep}))
    assert "they differ" not in "\n".join(compare_sets({"one": wide, "again": again}))


def test_an_answer_at_the_end_of_its_interval_does_not_differ_from_one_inside_it():
    """Their intervals are nested, whatever lies between the answers themselves."""
    loose = Coefficients(
        alpha=1.0,
        beta=1.0,
        gamma=1.414,
        intervals={"alpha": (1.0, 1.02), "beta": (1.0, 1.41), "gamma": (1.0, 1.414)},
    )
    sure = Coefficients(
        alpha=1.0,
        beta=1.35,
        gamma=1.05,
        intervals={"alpha": (1.0, 1.0), "beta": (1.3, 1.41), "gamma": (1.0, 1.1)},
    )
    assert "they differ" not in "\n".join(compare_sets({"loose": loose, "sure": sure}))
    assert "they differ" not in "\n".join(compare_sets({"sure": sure, "loose": loose}))


def test_of_several_sets_the_others_see_as_many_images_as_the_first(tmp_path, monkeypatch):
    sizes = {"many": 10_000, "few": 2_500}
    monkeypatch.setattr(
        search,
        "dataset_info",
        lambda data, out: replace(PICTURES, train=sizes[data], fingerprint=data),
    )
    request: dict[str, SearchRequest] = {}

    def noted(base, data, settings, runner, command):
        request[data] = settings
        return Coefficients(alpha=1.2, beta=1.1, gamma=1.15, data=f"{data} in {runner.out.name}")

    monkeypatch.setattr(search, "search_set", noted)
    found = search_coefficients(
        SMALL, ["many", "few"], SearchRequest(epochs=6), RunnerConfig(out=tmp_path), command=""
    )
    assert {data: each.epochs for data, each in request.items()} == {"many": 6, "few": 24}
    assert found.coefficients["few"].data == "few in few"
    assert "| few | 1.200 | 1.100 | 1.150 |" in (tmp_path / "report.md").read_text()
    with pytest.raises(UsageError, match="one name"):
        search_coefficients(
            SMALL, ["a/x", "b/x"], SearchRequest(), RunnerConfig(out=tmp_path), command=""
        )


# From results to the product


def tiny_set(root: Path, seed: int = 0) -> str:
    random = np.random.default_rng(seed)
    for name in "abc":
        for number in range(12):
            folder = root / ("train" if number < 8 else "test") / name
            folder.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 255, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return str(root)


def test_found_json_is_what_solve_goes_by(tmp_path):
    data, out = tiny_set(tmp_path / "data"), tmp_path / "out"
    request = SearchRequest(methods=("lawscale", "grid"))
    dataset = dataset_info(data, out)
    complete_plan(plan_search(SMALL, data, request, dataset), out, true_error, dataset.test_labels)
    result = search_coefficients(
        SMALL, data, request, RunnerConfig(out=out), command="phiscale search"
    )
    found = Coefficients.read(out / "found.json")
    assert found.powers == result.first.powers
    assert {path.name for path in out.glob("*.json")} == {
        "plan.json",
        "found.json",
        "base.json",
        "lawscale.json",
        "grid.json",
    }
    task = PlanningTask(coefficients=found)
    chosen = solve("efficientnet_b0", Budget(macs=800_000_000), task=task).best
    wide = solve("efficientnet_b0", Budget(macs=800_000_000)).best
    assert chosen.width > wide.width  # the truth here pays for width
    text = (out / "report.md").read_text()
    assert "equal-split baseline" in text
    assert "within 0.1 point of the best" in text
    json.loads((out / "plan.json").read_text())
    runs = read_sheet(out / "runs.csv")
    assert len(runs.rows) > 20 and runs.choose_axes() == ("depth", "width", "resolution")
    base = Spec.from_dict(json.loads((out / "base.json").read_text()))
    assert found.law_over(base) is not None, "the network that its law is over is beside it"


# The lattice


@given(target=st.floats(0.4, 8), name=st.sampled_from(sorted(STRATEGIES)))
def test_networks_on_a_ray_cost_what_is_asked_and_never_shrink_while_growing(target, name):
    if abs(math.log(target)) < 0.2:
        return
    place = SPACE.on_ray(STRATEGIES[name], target)
    assert place.cost_ratio == pytest.approx(target, rel=0.25)
    for value in (place.by.depth, place.by.width, place.by.resolution):
        assert value > 0.985 if target > 1 else value < 1.015


SPACE = lattice(get_spec("efficientnet_b0"), cost_metric("macs", None))


def test_the_lattice_counts_networks_as_they_are_built():
    for number in (0, 1234, len(SPACE.cost) - 1):
        place = SPACE.scaled(number)
        assert place.compute_ratio == pytest.approx(cost(place.spec).macs / cost(SPACE.base).macs)


def test_the_best_of_a_law_is_the_best_of_all_that_cost_as_much():
    which = SPACE.at(4.0)
    errors = SPACE.errors(TRUTH, which)
    best = SPACE.best(TRUTH, 4.0)
    by = best.by
    assert errors.min() == TRUTH.error(depth=by.depth, width=by.width, resolution=by.resolution)


def test_b0_scaled_by_the_paper_is_near_the_paper_ray():
    place = SPACE.on_ray(
        STRATEGIES["compound"], cost(scale(SPACE.base, compound(3))).macs / cost(SPACE.base).macs
    )
    assert place.by.depth == pytest.approx(1.2**3, rel=0.2)
    assert place.by.resolution == pytest.approx(1.15**3, rel=0.1)
