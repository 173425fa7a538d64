"""A search for coefficients, from its plan to found.json.

Errors come from a known law instead of trainings, so that the coefficients can be checked.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.files import write_json
from phiscale.planning.budget import Budget, PlanningTask, solve
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceFingerprint, DeviceModel, Timing, UnitTimes
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
from phiscale.search.coefficients.search import search_image_sets
from phiscale.search.coefficients.sets import compare_sets
from phiscale.search.engine.folder import DatasetInfo, dataset_info
from phiscale.search.engine.result import Results
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.engine.trial import Trial
from phiscale.search.spaces.lattice import COSTS, cost_metric, lattice
from support.browser import layout_problems
from support.synthetic import complete_plan

SMALL = get_spec("small")
AT_16 = replace(SMALL, resolution=16)
SPACE_16 = lattice(AT_16, cost_metric("macs", None), native_pixels=32)
DATASET = DatasetInfo(
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
TRUE_LAW = Law(
    e0=0.2,
    depth=Term(0.02, 1.0),
    width=Term(0.16, 1.0),
    resolution=Term(0.06, 1.0),
    sd=0,
    source="a test",
)


def true_error(trial: Trial, law: Law = TRUE_LAW, noise: float = 0.002) -> float:
    """The error by the multipliers in the trial's attributes, plus noise; best at a rate of 0.4."""
    by = {name: trial.attrs[name] for name in ("depth", "width", "resolution")}
    noise_term = np.random.default_rng(int(trial.key[:8], 16)).normal(0, noise)
    away = math.log2(trial.recipe.optim.lr_peak / 0.4)
    return float(law.error(**by) + 0.02 * away**2 + noise_term)


def run_search(
    tmp_path: Path, noise: float = 0.002, **request
) -> tuple[SearchOutcome, list[Coefficients]]:
    plan = plan_search(SMALL, "x", SearchRequest(**request), DATASET)
    outcome = complete_plan(
        plan,
        tmp_path,
        lambda trial: true_error(trial, noise=noise),
        DATASET.test_labels,
    )
    return outcome, [derive_coefficients(plan, method, "command") for method in outcome.searched]


# Coefficients and their intervals


def test_the_true_coefficients_are_within_the_intervals(tmp_path):
    _, [coefficients] = run_search(tmp_path)
    terms = (TRUE_LAW.depth, TRUE_LAW.width, TRUE_LAW.resolution)
    p, a = (np.array([[getattr(term, name) for term in terms]]) for name in ("p", "A"))
    best = np.exp(optima(p, a, 2.0)[0])
    for name, value in zip(("alpha", "beta", "gamma"), best, strict=True):
        low, high = coefficients.intervals[name]
        assert low - 0.02 <= value <= high + 0.02, name


def test_the_proposal_is_nearly_as_good_as_the_best_network_of_the_lattice(tmp_path):
    outcome, _ = run_search(tmp_path)
    best = SPACE_16.best(TRUE_LAW, 2.0)
    proposal = outcome.searched[0].proposal

    def error(by: Scaling) -> float:
        return TRUE_LAW.error(depth=by.depth, width=by.width, resolution=by.resolution)

    assert error(proposal.by) - error(best.by) < 0.003


def test_both_methods_spend_no_more_than_their_units(tmp_path):
    outcome, _ = run_search(tmp_path, methods=("lawscale", "grid"), units=14)
    for method in outcome.searched:
        assert 12 < method.units <= 14.0001, method.method


def test_rates_between_tuned_sizes_are_the_best_ones(tmp_path):
    outcome, _ = run_search(tmp_path)
    for by in (Scaling(), Scaling(depth=2), Scaling(width=1.4)):
        assert outcome.rates.surface.at(by) == pytest.approx(0.4, rel=0.01)


def test_the_confirmation_compares_proposals_with_baselines(tmp_path):
    outcome, _ = run_search(tmp_path, methods=("lawscale", "grid"))
    assert {
        "lawscale proposal",
        "grid proposal",
        "paper ray",
        "equal-split baseline",
        "uniform",
        "dWr",
    } < outcome.confirmed.keys()
    for name, network in outcome.confirmed.items():
        assert network.cost_ratio == pytest.approx(2, rel=0.035), name
        assert len(outcome.of(name)) == 3


def test_a_dimension_that_does_not_lower_the_error_is_named(tmp_path):
    """Trainings too short for depth: deeper networks are worse."""

    def truth(trial: Trial) -> float:
        return true_error(trial) + 0.06 * math.log(trial.attrs["depth"])

    plan = plan_search(SMALL, "x", SearchRequest(), DATASET)
    outcome = complete_plan(plan, tmp_path, truth, DATASET.test_labels)
    [method] = outcome.searched
    assert method.fit is not None
    section, *_ = law_sections(plan, method, [derive_coefficients(plan, method, "command")])
    text = " ".join(section.text)
    assert "More depth does not lower the error of these trainings" in text
    assert "More width" not in text


def test_where_the_law_does_not_hold_the_second_round_covers_all_costs(tmp_path):
    """Width lowers the error more where resolution is high, so the terms do not add up."""

    def interacting(trial: Trial) -> float:
        width, resolution = (math.log(trial.attrs[name]) for name in ("width", "resolution"))
        return true_error(trial) - 0.3 * width * resolution

    plan = plan_search(SMALL, "x", SearchRequest(), DATASET)
    [additive], [other] = (
        complete_plan(plan, tmp_path / name, truth, DATASET.test_labels).searched
        for name, truth in (("additive", true_error), ("other", interacting))
    )
    assert other.explored_everywhere and not additive.explored_everywhere
    section, *_ = law_sections(plan, other, [derive_coefficients(plan, other, "command")])
    assert "trained networks of all costs where the law was least sure" in " ".join(section.text)


def test_noise_is_at_least_the_sampling_error_of_the_validation_images(tmp_path):
    outcome, _ = run_search(tmp_path, noise=0.0)
    runs = outcome.searched[0].runs
    error = float(np.mean([run.error for run in runs]))
    few, many = estimate_noise(runs, 400), estimate_noise(runs, 10**9)
    assert few.source == "images" and few.run_sd == pytest.approx(math.sqrt(error / 800))
    assert many.run_sd < few.run_sd


def test_a_law_that_other_models_beat_gives_no_coefficients_far_beyond_its_trainings(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(laws, "law_checks", lambda _: BEATEN)
    data, out = tiny_set(tmp_path / "data"), tmp_path / "out"
    request = SearchRequest(compute=60)
    dataset = dataset_info(data, out)
    complete_plan(plan_search(SMALL, data, request, dataset), out, true_error, dataset.test_labels)
    with pytest.raises(UsageError, match=r"no found\.json: compute=60: .*Use a smaller"):
        search_image_sets(SMALL, [data], request, RunnerConfig(out=out), command="c")
    stages = {run.attrs["stage"] for run in Results(out / "results").all().values()}
    assert "confirmation" not in stages, "no training confirms coefficients that are refused"
    assert "cannot be trusted beyond 8x then" in (out / "report.md").read_text()
    assert {path.name for path in out.glob("*.json")} == {"plan.json", "base.json"}


def test_units_that_pay_for_no_grid_are_refused_before_any_training(tmp_path):
    data, out = tiny_set(tmp_path / "data"), tmp_path / "out"
    request = SearchRequest(compute=16, methods=("lawscale", "grid"))
    with pytest.raises(UsageError, match=r"units=14 pays for no grid .*Use units=3\d or more"):
        search_image_sets(SMALL, [data], request, RunnerConfig(out=out), command="c")
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
    search_image_sets(SMALL, [data], request, RunnerConfig(out=out), command="c")
    assert "Trained on several kinds of machine" in (out / "report.md").read_text()


def test_a_set_without_coefficients_does_not_stop_the_search_on_others(tmp_path, monkeypatch):
    sets = [tiny_set(tmp_path / name, seed) for seed, name in enumerate(("one", "other"))]

    def refuse_first(method, compute):
        return "far out." if method.runs[0].key in keys_of_one else ""

    monkeypatch.setattr(planning, "refusal_reason", refuse_first)
    out, keys_of_one = tmp_path / "out", set()
    for data in sets:
        dataset, request = dataset_info(data, out / Path(data).name), SearchRequest(seeds=0)
        complete_plan(
            plan_search(SMALL, data, request, dataset),
            out / Path(data).name,
            true_error,
            dataset.test_labels,
        )
        if data == sets[0]:
            keys_of_one |= Results(out / "one" / "results").all().keys()
    with pytest.raises(UsageError, match=r"one has no coefficients\. far out\."):
        search_image_sets(SMALL, sets, SearchRequest(seeds=0), RunnerConfig(out=out), command="c")
    assert (out / "other" / "found.json").exists() and not (out / "one" / "found.json").exists()
    assert "one has no coefficients. far out." in (out / "report.md").read_text()


def test_a_confirmation_can_follow_later(tmp_path):
    data, out = tiny_set(tmp_path / "data"), tmp_path / "out"
    dataset = dataset_info(data, out)

    def search_with(seeds: int) -> Coefficients:
        request = SearchRequest(seeds=seeds)
        complete_plan(
            plan_search(SMALL, data, request, dataset), out, true_error, dataset.test_labels
        )
        return search_image_sets(SMALL, [data], request, RunnerConfig(out=out), command="c").first

    first = search_with(0)
    assert "## Not confirmed" in (out / "report.md").read_text()
    assert search_with(3).powers == first.powers
    confirmed = (out / "report.md").read_text()
    assert "## Confirmed" in confirmed and "Looked at before" not in confirmed
    search_with(4)
    assert "Looked at before with 3 seeds" in (out / "report.md").read_text()
    assert layout_problems(out / "report.html") == []
    with pytest.raises(UsageError, match="seeds=1 has no spread"):
        SearchRequest(seeds=1)


def test_coefficients_of_the_grid_have_no_interval(tmp_path):
    _, [coefficients] = run_search(tmp_path, methods=("grid",))
    assert coefficients.intervals is None
    assert coefficients.growth == pytest.approx(2, abs=0.15)


def test_noise_makes_intervals_wide(tmp_path):
    def width(coefficients: Coefficients) -> float:
        return sum(high - low for low, high in coefficients.intervals.values())

    _, [precise] = run_search(tmp_path / "a", noise=0.0005)
    _, [noisy] = run_search(tmp_path / "b", noise=0.02)
    assert width(noisy) > 2 * width(precise)


def test_coefficients_for_shrinking_come_from_smaller_networks(tmp_path):
    outcome, [coefficients] = run_search(tmp_path, compute=0.5)
    assert outcome.searched[0].proposal.cost_ratio == pytest.approx(0.5, rel=0.1)
    assert coefficients.at(-1).macs == pytest.approx(0.5, rel=0.02)


# Other cost metrics, other images


@pytest.mark.parametrize("metric", [metric for metric in COSTS if metric != "latency-ms"])
def test_any_cost_metric_can_be_the_one_that_doubles(tmp_path, metric):
    outcome, [coefficients] = run_search(tmp_path, cost=metric)
    spec = outcome.searched[0].proposal.spec
    metric_of = cost_metric(metric, None)
    assert float(metric_of(cost(spec)) / metric_of(cost(AT_16))) == pytest.approx(2, rel=0.04)
    assert coefficients.cost == metric


def test_parameters_cost_no_pixels_so_resolution_takes_more_of_them(tmp_path):
    _, [macs] = run_search(tmp_path / "a")
    _, [params] = run_search(tmp_path / "b", cost="params")
    assert params.gamma > macs.gamma


def test_the_latency_of_another_device_can_be_the_cost_that_doubles(tmp_path):
    """Time on this device is spent on activations alone, so that width is cheap."""
    rates = UnitTimes(
        dense_macs=0, depthwise_macs=0, activations=1e-6, weight_bytes=0, convs=0, constant=0.001
    )
    fingerprint = DeviceFingerprint(
        device="a test", cores=1, threads=1, runtime="onnxruntime", torch="2", date="2026-01-01"
    )
    timing = Timing(rates=rates, median_error=0.05, max_error=0.2)
    device = DeviceModel(
        fingerprint=fingerprint, latency=timing, training=timing, training_batch=64
    )
    outcome, [coefficients] = run_search(tmp_path, cost="latency-ms", device=device)
    spec = outcome.searched[0].proposal.spec
    metric_of = cost_metric("latency-ms", device)
    assert float(metric_of(cost(spec)) / metric_of(cost(AT_16))) == pytest.approx(2, rel=0.04)
    assert coefficients.beta > 1.5  # sqrt 2 is what MACs allow at most


def test_latency_needs_a_model_of_the_device():
    with pytest.raises(UsageError, match=r"phiscale calibrate --out device\.json"):
        cost_metric("latency-ms", None)


def test_sets_whose_coefficients_differ_are_reported_and_equal_ones_are_not(tmp_path):
    _, [wide] = run_search(tmp_path / "a")
    _, [again] = run_search(tmp_path / "b", epochs=7)  # other trainings by the same law
    deep = replace(
        wide,
        alpha=1.9,
        beta=1.01,
        gamma=1.01,
        intervals={"alpha": (1.8, 2.0), "beta": (1.0, 1.02), "gamma": (1.0, 1.02)},
    )
    assert "they differ" in "\n".join(compare_sets({"one": wide, "other": deep}))
    assert "they differ" not in "\n".join(compare_sets({"one": wide, "again": again}))


def test_coefficients_with_nested_intervals_do_not_differ():
    """Even if the coefficients themselves are far apart."""
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


def test_epochs_of_further_sets_give_as_many_images_seen_as_on_the_first(tmp_path, monkeypatch):
    sizes = {"many": 10_000, "few": 2_500}
    monkeypatch.setattr(
        search,
        "dataset_info",
        lambda data, out: replace(DATASET, train=sizes[data], fingerprint=data),
    )
    request: dict[str, SearchRequest] = {}

    def record_request(base, data, settings, runner, command):
        request[data] = settings
        return Coefficients(alpha=1.2, beta=1.1, gamma=1.15, data=f"{data} in {runner.out.name}")

    monkeypatch.setattr(search, "search_set", record_request)
    result = search_image_sets(
        SMALL, ["many", "few"], SearchRequest(epochs=6), RunnerConfig(out=tmp_path), command=""
    )
    assert {data: each.epochs for data, each in request.items()} == {"many": 6, "few": 24}
    assert result.coefficients["few"].data == "few in few"
    assert "| few | 1.200 | 1.100 | 1.150 |" in (tmp_path / "report.md").read_text()
    with pytest.raises(UsageError, match="one name"):
        search_image_sets(
            SMALL, ["a/x", "b/x"], SearchRequest(), RunnerConfig(out=tmp_path), command=""
        )


# From results to files


def tiny_set(root: Path, seed: int = 0) -> str:
    random = np.random.default_rng(seed)
    for name in "abc":
        for number in range(12):
            folder = root / ("train" if number < 8 else "test") / name
            folder.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 255, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return str(root)


def test_solve_uses_found_json(tmp_path):
    data, out = tiny_set(tmp_path / "data"), tmp_path / "out"
    request = SearchRequest(methods=("lawscale", "grid"))
    dataset = dataset_info(data, out)
    complete_plan(plan_search(SMALL, data, request, dataset), out, true_error, dataset.test_labels)
    result = search_image_sets(
        SMALL, [data], request, RunnerConfig(out=out), command="phiscale search"
    )
    coefficients = Coefficients.read(out / "found.json")
    assert coefficients.powers == result.first.powers
    assert {path.name for path in out.glob("*.json")} == {
        "plan.json",
        "found.json",
        "base.json",
        "lawscale.json",
        "grid.json",
    }
    task = PlanningTask(coefficients=coefficients)
    by_search = solve("efficientnet_b0", Budget(macs=800_000_000), task=task).best
    by_paper = solve("efficientnet_b0", Budget(macs=800_000_000)).best
    assert by_search.width > by_paper.width  # width lowers the true error most
    text = (out / "report.md").read_text()
    assert "equal-split baseline" in text
    assert "within 0.1 point of the best" in text
    json.loads((out / "plan.json").read_text())
    runs = read_sheet(out / "runs.csv")
    assert len(runs.rows) > 20 and runs.choose_axes() == ("depth", "width", "resolution")
    base = Spec.from_dict(json.loads((out / "base.json").read_text()))
    assert coefficients.law_over(base) is not None, "base.json is the network of its law"
