"""The report of a search for coefficients: the answer beside scalings that need no search, how sure
it is, which networks are statistically tied, every training, and what all of it took."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from phiscale.planning.laws.optimum import Triple
from phiscale.report.page import Section, page_files
from phiscale.search.caveats import machine_notes
from phiscale.search.coefficients.completed import CompletedSearch
from phiscale.search.coefficients.law import MethodResult
from phiscale.search.coefficients.law_report import law_sections
from phiscale.search.coefficients.plan import SearchOutcome
from phiscale.search.coefficients.report_answer import answer_section
from phiscale.search.coefficients.report_confirmation import confirmation_sections
from phiscale.search.engine.result import unique_results
from phiscale.search.tuning import edge_rate_notes

TITLE = "alpha, beta, gamma from trainings"
COLUMNS = (
    *("method", "depth", "width", "resolution", "units", "rate"),
    *("validation_error", "test_error", "key"),
)


def search_report(search: CompletedSearch, command: str) -> dict[str, str | bytes]:
    """Returns the files of a finished search's report, by name."""
    sections = [
        answer_section(search),
        *confirmation_sections(search),
        *(law_sections(search.plan, search.lawful, search.answers) if search.lawful else []),
        _protocol(search),
        *(_trainings(result) for result in search.outcome.searched),
    ]
    return {**page_files(TITLE, command, sections), "runs.csv": _csv(search.outcome)}


def _protocol(search: CompletedSearch) -> Section:
    plan, outcome, dataset = search.plan, search.outcome, search.dataset
    images = plan.conditions.train_images or dataset.train
    recipe, surface = plan.conditions.recipe, outcome.rates.surface
    spent = sum(run.cpu_seconds for run in unique_results(outcome.runs.values()))
    return Section(
        title="How it was done",
        text=[
            f"{dataset.source}: {images} of {dataset.train} training images, {recipe.epochs:g} "
            f"epochs with batches of {recipe.batch}, {recipe.optim.name}; the base sees "
            f"{plan.base.resolution} px. Searches use the {dataset.validation} validation images, "
            f"the confirmation the {len(dataset.test_labels)} test images.",
            "Learning rates: tuned in the base and four corners of depth and width, "
            f"{plan.tuning} ({outcome.rates.units:.1f} units). All methods then use log2 lr = "
            f"{surface.a:.2f} {surface.b:+.2f} ln depth {surface.c:+.2f} ln width.",
            *edge_rate_notes(outcome.rates.tuned, plan.tuning),
            *([f"The confirmation took {spent:,.0f} core seconds."] if outcome.runs else []),
            *machine_notes(search.trainings),
        ],
    )


def _trainings(result: MethodResult) -> Section:
    rows = [
        {
            "depth": f"x{run.by.depth:.2f}",
            "width": f"x{run.by.width:.2f}",
            "resolution": f"x{run.by.resolution:.2f}",
            "units": f"{run.compute_ratio:.2f}",
            "of the grid": _candidates(run.candidates),
            "lr": f"{run.rate:.3g}",
            "validation error, %": f"{100 * run.error:.2f}",
        }
        for run in result.runs
    ]
    return Section(
        title=f"Trainings of {result.method}", rows=rows, note=f"{result.units:.2f} units in all."
    )


def _candidates(triples: Sequence[Triple]) -> str | None:
    """alpha, beta, gamma as the grid has them; several may round to one network."""
    return " = ".join(", ".join(f"{value:g}" for value in triple) for triple in triples) or None


def _csv(outcome: SearchOutcome) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows(_csv_rows(outcome))
    return text.getvalue()


def _csv_rows(outcome: SearchOutcome) -> Iterator[list[Any]]:
    for result in outcome.searched:
        for run in result.runs:
            by, units = (run.by.depth, run.by.width, run.by.resolution), run.compute_ratio
            yield [result.method, *by, units, run.rate, run.error, None, run.key]
    for (name, seed), run in sorted(outcome.runs.items()):
        network = outcome.confirmed[name]
        by = (network.by.depth, network.by.width, network.by.resolution)
        rate = run.trial["recipe"]["optim"]["lr_peak"]
        label = f"confirmation: {name}, seed {seed}"
        errors = run.validation_error, run.test_error
        yield [label, *by, network.compute_ratio, rate, *errors, run.key]
