"""`phiscale.search_coefficients`: from images and a network to alpha, beta, gamma."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from phiscale.arch.families import resolve_spec
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.files import write_atomic
from phiscale.files.run_files import COEFFICIENTS, REPORT
from phiscale.files.values import PathOrName, check_one_of
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceModel
from phiscale.report.page import Section, page_files
from phiscale.search.coefficients.answer import derive_coefficients
from phiscale.search.coefficients.completed import CompletedSearch
from phiscale.search.coefficients.grid import grid_networks
from phiscale.search.coefficients.plan import CoefficientSearch, SearchOutcome
from phiscale.search.coefficients.report import search_report
from phiscale.search.coefficients.request import SearchRequest, images_per_epoch, plan_search
from phiscale.search.coefficients.sets import compare_sets, set_folders
from phiscale.search.engine.folder import DatasetInfo, dataset_info, read_interim_looks
from phiscale.search.engine.run_plan import run_plan
from phiscale.search.engine.runner import RunnerConfig, runner_for
from phiscale.search.study.check_design import check_image_count
from phiscale.search.tuning import Tuning
from phiscale.text import python_call

logger = logging.getLogger(__name__)

BASE = "base.json"


@dataclass(frozen=True)
class SearchResult:
    """What a search found."""

    coefficients: Mapping[str, Coefficients]  # by image set, in the order they were given
    out: Path  # folder of the search

    @property
    def first(self) -> Coefficients:
        """Those of the first image set."""
        return next(iter(self.coefficients.values()))

    @property
    def folders(self) -> dict[str, Path]:
        """The folder of each image set's search."""
        return set_folders(self.out, list(self.coefficients))

    @property
    def comparison(self) -> list[str]:
        """Whether several image sets differ, a line for each coefficient; empty for one set."""
        return compare_sets(self.coefficients)

    @property
    def report(self) -> Path:
        """The page that says what was done and found."""
        return self.out / REPORT

    def lines(self) -> list[str]:
        """The result for a terminal: each coefficient with its interval of 95 %."""
        lines: list[str] = []
        for data, folder in self.folders.items():
            lines += [*_summary(data, self.coefficients[data]), str(folder / COEFFICIENTS)]
        return [*lines, *self.comparison]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def search_coefficients(  # noqa: PLR0913
    spec: PathOrName | Spec,
    data: PathOrName | Sequence[PathOrName],
    out: PathOrName,
    *,
    method: Literal["lawscale", "grid", "both"] = "lawscale",
    compute: float = 2.0,
    units: float = 14.0,
    cost: str = "macs",
    device_model: PathOrName | DeviceModel | None = None,
    resolution: int | None = None,
    epochs: float = 6.0,
    train_images: int | None = None,
    seeds: int = 3,
    rates: Sequence[float] = (),
    seed: int = 0,
    storage: str | None = None,
    study_name: str = "phiscale",
    workers: int | None = None,
    threads: int = 1,
    device: str = "auto",
    command: str = "",
) -> SearchResult:
    """Searches alpha, beta and gamma for a network on image sets, by trainings. The same call
    resumes.

    `method`: a designed experiment with an error law, the paper's grid search, or both. `compute`:
    cost over the base's at which coefficients are wanted. `units`: cost of a method in trainings of
    the base. `cost`: the metric that is to double. `resolution`: pixels of the base, by default
    half of what the images have. `seeds`: of the confirmation. `rates`: learning rates to choose
    from. Trainings run in `workers` processes of `threads` threads; machines share one `storage`.
    `command`: what the report says made it, by default this call.

    Raises UsageError for arguments out of range, and where the law cannot be trusted at `compute`.
    """
    command = command or python_call(search_coefficients, locals())
    check_one_of(("lawscale", "grid", "both"), method=method)
    if isinstance(device_model, str | os.PathLike):
        device_model = DeviceModel.read(Path(device_model))
    request = SearchRequest(
        methods=("lawscale", "grid") if method == "both" else (method,),
        units=units,
        compute=compute,
        cost=cost,
        resolution=resolution,
        epochs=epochs,
        seeds=seeds,
        train_images=train_images,
        threads=threads,
        seed=seed,
        device=device_model,
        tuning=Tuning(rates=tuple(rates)) if rates else Tuning(),
    )
    base = spec if isinstance(spec, Spec) else resolve_spec(os.fspath(spec))
    single = isinstance(data, str | os.PathLike)
    sets = [os.fspath(data)] if single else [os.fspath(each) for each in data]
    runner = runner_for(Path(out), storage, study_name, workers, threads, device)
    return search_image_sets(base, sets, request, runner, command=command)


def search_image_sets(
    base: Spec,
    sets: Sequence[str],
    request: SearchRequest,
    runner: RunnerConfig,
    *,
    command: str = "",
) -> SearchResult:
    """Trains networks, fits a law, proposes coefficients and confirms them.

    Leaves found.json and a report in `runner.out`; an interrupted search resumes. With several
    methods, found.json holds the first one's coefficients. Several image sets are searched alike,
    in a folder each, and a page compares them: `request.epochs` are the first set's, trainings on
    the others see as many images.

    `command`: what a report says made it. UsageError: the folder belongs to another search, two
    sets have one name, or the law cannot be trusted at `request.compute` (found.json is then
    missing, everything else is written).
    """
    if not sets:
        raise UsageError("`data` is empty. Name images to train on.")
    if len(sets) > 1:
        return _search_several(base, sets, request, runner, command)
    coefficients = search_set(base, sets[0], request, runner, command)
    if why := coefficients.extra.get("refused"):
        raise UsageError(f"no {COEFFICIENTS}: {why} See {runner.out / REPORT}.")
    return SearchResult({sets[0]: coefficients}, runner.out)


def search_set(
    base: Spec, data: str, request: SearchRequest, runner: RunnerConfig, command: str
) -> Coefficients:
    """Searches on one image set, in `runner.out`. Where its law cannot be trusted, the coefficients
    say why in `extra["refused"]`."""
    dataset = dataset_info(data, runner.out)
    plan = plan_search(base, data, request, dataset)
    _check_feasible(plan)
    runner = runner.begin_or_resume("search for coefficients", dataset, plan.to_dict())
    for line in check_image_count(images_per_epoch(dataset, request), len(dataset.classes)):
        logger.warning(line)
    outcome = run_plan(plan, runner)
    answers = [derive_coefficients(plan, result, command) for result in outcome.searched]
    _write(plan, outcome, answers, dataset, runner, command)
    return answers[0]


def _check_feasible(plan: CoefficientSearch) -> None:
    """UsageError, before anything is trained: no network costs so much, or no grid fits."""
    lattice = plan.lattice()
    lattice.at(plan.compute)
    if "grid" in plan.methods:
        grid_networks(lattice, plan.compute, plan.units)


def _write(
    plan: CoefficientSearch,
    outcome: SearchOutcome,
    answers: Sequence[Coefficients],
    dataset: DatasetInfo,
    runner: RunnerConfig,
    command: str,
) -> None:
    """Writes the report, and every method's coefficients that can be trusted."""
    out = runner.out
    search = CompletedSearch(
        plan=plan,
        outcome=outcome,
        answers=answers,
        dataset=dataset,
        trainings=list(runner.results.read(sorted(outcome.keys)).values()),
        interim_looks=read_interim_looks(out),
    )
    for name, text in search_report(search, command).items():
        write_atomic(out / name, text)
    for each in answers if len(answers) > 1 else ():
        if "refused" not in each.extra:
            each.write(out / f"{each.method}.json")
    write_atomic(out / BASE, plan.base.to_json() + "\n")
    if "refused" not in answers[0].extra:
        answers[0].write(out / COEFFICIENTS)


def _search_several(
    base: Spec, sets: Sequence[str], request: SearchRequest, runner: RunnerConfig, command: str
) -> SearchResult:
    """The same search on each set; trainings on all of them see as many images."""
    runners = {
        each: replace(runner, out=out, name=f"{runner.name}-{out.name}")
        for each, out in set_folders(runner.out, sets).items()
    }
    images = {
        each: images_per_epoch(dataset_info(each, runners[each].out), request) for each in sets
    }
    answers: dict[str, Coefficients] = {}
    for each in sets:
        epochs = round(request.epochs * images[sets[0]] / images[each], 4)
        answers[each] = search_set(
            base, each, replace(request, epochs=epochs), runners[each], command
        )
    refused = [
        f"{each} has no coefficients. {found.extra['refused']}"
        for each, found in answers.items()
        if "refused" in found.extra
    ]
    answers = {each: found for each, found in answers.items() if "refused" not in found.extra}
    rows = [{"set": runners[each].out.name, **found.row()} for each, found in answers.items()]
    section = Section(
        title="Do the image sets differ?",
        text=[*refused, *compare_sets(answers)],
        rows=rows,
        note=f"For each doubling of {request.cost} of the base, around {request.compute:g} times "
        "it, with intervals of 95 %. All trainings see as many images. Each set's search is in a "
        "folder of its own.",
    )
    for name, content in page_files("Coefficients of several sets", command, [section]).items():
        write_atomic(runner.out / name, content)
    if refused:
        raise UsageError(f"{' '.join(refused)} See {runner.out / REPORT}.")
    return SearchResult(answers, runner.out)


def _summary(data: str, coefficients: Coefficients) -> list[str]:
    none = "" if coefficients.intervals else " (a grid has no interval)"
    checks = coefficients.extra.get("checks")
    return [
        f"{data}, {coefficients.method}: for each doubling of {coefficients.cost}{none}",
        *(f"  {name:<5} {value}" for name, value in coefficients.row().items()),
        *([checks] if checks else []),
    ]
