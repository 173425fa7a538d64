"""How a scaling study was carried out: a section of its report."""

from __future__ import annotations

from phiscale.report.page import Section
from phiscale.search.caveats import machine_notes
from phiscale.search.engine.result import unique_results
from phiscale.search.study.completed import CompletedStudy
from phiscale.search.tuning import edge_rate_notes


def protocol_section(study: CompletedStudy) -> Section:
    """Images, training, selection of learning rates, seeds and compute."""
    plan, outcome = study.plan, study.outcome
    rates = {name: recipe.optim.lr_peak for name, recipe in outcome.recipes.items()}
    return Section(
        title="Protocol",
        text=[
            _images(study),
            _training(study),
            _tuning(study),
            *edge_rate_notes(rates, plan.tuning),
            _seeds(study),
            *machine_notes(outcome.runs.values()),
        ],
        note="runs.csv has every run. predictions.csv has the prediction of every run for every "
        "test image. results/ has the same as JSON; plan.json has the plan.",
    )


def _images(study: CompletedStudy) -> str:
    dataset = study.dataset
    return (
        f"{dataset.source}: {study.train_images} of {dataset.train} training images, the same in "
        f"all runs; {dataset.validation} validation images, {len(dataset.test_labels)} test "
        "images. "
        f"Images of {dataset.native_pixels} px are resampled (antialiased) to each arm's "
        "resolution."
    )


def _training(study: CompletedStudy) -> str:
    recipe = study.plan.conditions.recipe
    optim = recipe.optim
    return (
        f"{recipe.epochs:g} epochs, batch size {recipe.batch}, {optim.name} with Nesterov momentum "
        f"{optim.momentum:g}, warm-up over {100 * recipe.schedule.warmup_fraction:.0f} %, cosine "
        f"to 0, weight decay {optim.weight_decay:g}."
    )


def _tuning(study: CompletedStudy) -> str:
    tuning = study.plan.tuning
    drop_paths = ", ".join(f"{each:g}" for each in tuning.drop_paths)
    also = f", and its drop path from {drop_paths}" if len(tuning.drop_paths) > 1 else ""
    return (
        "Each arm selected its learning rate from "
        f"{', '.join(f'{rate:g}' for rate in tuning.rates)}{also}, by validation error {tuning}. "
        "Tuning has a seed of its own; arms are never compared by it. The longer arm has the "
        "base's learning rate."
    )


def _seeds(study: CompletedStudy) -> str:
    cpu = sum(run.cpu_seconds for run in unique_results(study.outcome.runs.values()))
    seeds = study.plan.seed_range
    return (
        f"Seeds {seeds[0]} to {seeds[-1]}. A seed sets initial weights, order and augmentation "
        f"alike in all arms. The runs of these seeds took {cpu:,.0f} core seconds; of resumed runs "
        "only the last start is counted."
    )
