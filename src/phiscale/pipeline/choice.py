"""How `fit` chooses a network: exact costs and a law propose, measurements correct, and short runs
on the validation split decide between networks that the law cannot separate.

Each step is a function that returns the evidence with more: `known_weights.py`, `probing.py` (with
`variants.py`), `ranking.py` (with `solving.py`), `short_runs.py`, and `decide` in this file."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from phiscale.arch.spec import Spec
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import CheckpointError
from phiscale.files import Format, added_field
from phiscale.pipeline.candidate_training import candidate_preprocessing, candidate_recipe
from phiscale.pipeline.evidence import Evidence
from phiscale.pipeline.known_weights import propose_pretrained
from phiscale.pipeline.measurements import Measurements
from phiscale.pipeline.probing import probe_pretrained
from phiscale.pipeline.ranking import rank_by_measurements
from phiscale.pipeline.request import Request
from phiscale.pipeline.short_runs import short_runs
from phiscale.planning.budget import MAX_EPOCHS, Candidate, explain
from phiscale.training.recipes.recipe import Recipe

logger = logging.getLogger(__name__)

TIME_KEPT = 0.98  # of the training minutes: the training is shortened if it would take longer
TIME_USED = 0.88  # of the training minutes: the rest covers saving and a slower machine
EVALUATION_SPEED = 3.0  # images evaluated in the time of one trained
EVALUATION_SHARE = 0.03  # of the training time


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The network to train, and everything for and against it."""

    spec: Spec
    recipe: Recipe
    preprocessing: Preprocessing
    name: str
    why: str
    predicted: Mapping[str, Any]  # the winner's row
    candidates: tuple[Mapping[str, Any], ...]  # rows of the table
    pareto: tuple[Mapping[str, Any], ...]
    law_sd: float | None = None  # typical error of the predictions
    law_source: str = ""  # what the law was fitted to
    coefficients: Mapping[str, Any] | None = None  # that the scalings were bound to
    pretrained: str | None = None
    short_runs: Mapping[str, Any] = field(default_factory=dict)  # rows of the short runs
    train_s: float | None = added_field(default=None)  # seconds that the training may take

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data: what `choice.json` holds."""
        return FORMAT.encode(self)


FORMAT = Format(
    Choice,
    "phiscale_choice",
    CheckpointError,
    "Restore it, or use another `out`.",
)


def choose(request: Request, evidence: Evidence, measurements: Measurements, out: Path) -> Choice:
    """Selects the best network within the budget: propose, probe, measure, short runs, decide.

    Short runs train in the folder `out`. Raises BudgetError where no network fits the budget and
    WeightsError where no network competes.
    """
    evidence = propose_pretrained(request, evidence, measurements)
    evidence = probe_pretrained(request, evidence, measurements)
    evidence = rank_by_measurements(request, evidence, measurements)
    evidence = short_runs(request, evidence, measurements, out)
    return decide(request, evidence)


def decide(request: Request, evidence: Evidence) -> Choice:
    """Returns the choice that the evidence leads to, with the recipe's length fixed."""
    winner, ranking, proposal = evidence.winner, evidence.ranking, evidence.proposal
    assert winner is not None and ranking is not None and proposal is not None
    among = (*evidence.finalists, *evidence.pretrained_candidates, *proposal.pareto)
    rivals = {each.name: each for each in among if each.spec != winner.spec}
    coefficients = evidence.coefficients
    missed = missed_by_limits(winner, evidence.pretrained_candidates)
    if missed:
        logger.warning(missed.strip())
    return Choice(
        spec=winner.spec,
        recipe=_planned_recipe(request, evidence, winner),
        preprocessing=candidate_preprocessing(evidence, winner),
        name=winner.name,
        why=f"{explain(ranking)}{evidence.remark}{missed}",
        predicted=winner.to_dict(),
        candidates=tuple(each.to_dict() for each in (winner, *rivals.values())),
        pareto=tuple(each.to_dict() for each in proposal.pareto),
        law_sd=proposal.law_sd,
        law_source=evidence.law.source,
        coefficients=coefficients.to_dict() if coefficients else None,
        pretrained=winner.pretrained,
        short_runs={"rows": list(evidence.short_runs)} if evidence.short_runs else {},
        train_s=_train_seconds(request, evidence),
    )


def _train_seconds(request: Request, evidence: Evidence) -> float | None:
    """Returns what measurements and short runs have left of the training minutes."""
    minutes = request.budget.train_minutes
    return None if minutes is None else round(60 * minutes * TIME_KEPT - evidence.seconds_used, 1)


def missed_by_limits(winner: Candidate, pretrained: Iterable[Candidate]) -> str:
    """Names the better pretrained network that a limit excludes, and the limit to raise."""
    better = [each for each in pretrained if each.excluded_by and each.error < winner.error]
    if not better:
        return ""
    best = min(better, key=lambda candidate: candidate.error)
    fix = "Raise that limit"
    if best.may_only_lack_time:
        fix = "Allow more training minutes, or a training of fewer epochs"
    return (
        f" {best.name} has a predicted top-1 error of {100 * best.shown_error:.1f} % but is "
        f"excluded ({best.excluded_by}). {fix}."
    )


def _planned_recipe(request: Request, evidence: Evidence, winner: Candidate) -> Recipe:
    """Returns the winner's recipe with the length that the time allows, fixed once and for all."""
    recipe = candidate_recipe(request, evidence, winner)
    minutes, speed = request.budget.train_minutes, winner.train_images_per_s
    if minutes is None or speed is None:
        return recipe
    train_images, validation = len(evidence.images.train), len(evidence.images.validation)
    seconds = max(0.5, TIME_USED - evidence.seconds_used / 60 / minutes) * minutes * 60
    allowed = int(EVALUATION_SHARE * seconds * speed * EVALUATION_SPEED / max(1, validation))
    evaluations = max(3, min(recipe.evaluations, allowed))
    evaluated = evaluations * validation
    if recipe.head == "probe":  # fitted on all images, and evaluated before the first step
        evaluated += train_images + validation
    images = seconds * speed - evaluated / EVALUATION_SPEED
    epochs = min(MAX_EPOCHS, max(images, 1.0) / train_images)
    # the time is there to be used, and the best weights are kept: no early stopping
    return replace(recipe, epochs=round(epochs, 4), evaluations=evaluations, patience=0)
