"""How `fit` chooses: exact costs and a law propose, measurements correct, a short race on the
validation split decides between networks that the law cannot tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from phiscale.arch.spec import Spec
from phiscale.data.audit import Audit
from phiscale.data.datasets.dataset import ImageSet
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import CheckpointError, WeightsError
from phiscale.files import Format
from phiscale.pipeline.selection import HANDICAPS, Chooser
from phiscale.pipeline.short_runs import Trials, has_small_pictures
from phiscale.planning.budget import Budget, Candidate, explain, rank
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceModel
from phiscale.planning.laws import ErrorLaw
from phiscale.training.log import read_log
from phiscale.training.recipes.recipe import Recipe

NOTHING: Mapping[str, Path] = {}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The network to train, and everything that spoke for and against it."""

    spec: Spec
    recipe: Recipe
    preprocessing: Preprocessing
    name: str
    why: str
    predicted: Mapping[str, Any]  # the winner's row
    candidates: tuple[Mapping[str, Any], ...]  # rows of the table
    pareto: tuple[Mapping[str, Any], ...]
    law_sd: float | None = None  # typical error of the predictions
    law_source: str = ""  # what they were fitted to
    coefficients: Mapping[str, Any] | None = None  # that the scalings were bound to
    pretrained: str | None = None
    race: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: what `choice.json` holds."""
        return FORMAT.encode(self)


FORMAT = Format(
    Choice,
    "phiscale_choice",
    CheckpointError,
    "Restore it, or use another --out.",
)


def bases_for(audit: Audit) -> tuple[str, ...]:
    """The members whose scalings compete from scratch; the law counts multiples of the first."""
    return ("small",) if has_small_pictures(audit) else ("efficientnet_b0", *HANDICAPS)


def choose(
    images: ImageSet,
    audit: Audit,
    budget: Budget,
    device: DeviceModel,
    out: Path,
    *,
    base: str | None = None,
    law: ErrorLaw | None = None,
    along: Coefficients | None = None,
    pretrained: Mapping[str, Path] = NOTHING,
    known: bool = False,
    from_scratch: bool = True,
    seed: int = 0,
    min_epochs: float | None = None,
    compute: torch.device,
    elsewhere: bool = False,
) -> Choice:
    """The best network within the budget for these images. Raises BudgetError.

    `along`: of the scalings only those by these coefficients compete.
    `pretrained`: weights files by the names that they compete under; `known`: the best of the
    table of known weights compete too. `compute`: where torch trains. `elsewhere`: `device` is
    another machine, so latencies are its model's word, not measured here.
    """
    chooser = Chooser(
        images,
        audit,
        budget,
        device,
        (base,) if base else bases_for(audit),
        law,
        along,
        min_epochs,
        Trials(images, audit, seed, compute),
        elsewhere,
        pretrained,
    )
    if known:
        chooser.take_known()
    chooser.time_given()
    if not from_scratch and not chooser.offers:
        raise WeightsError("no pretrained weights are at hand. Name some with --pretrained SOURCE.")
    solution, measured = chooser.at_measured_speed(from_scratch)
    given = chooser.given()
    others = [c for c in given if c.name not in {m.name for m in measured}]
    ranked = rank([*measured, *others], sd=solution.law_sd)
    ranked = replace(
        ranked,
        considered=solution.considered,
        fitting=solution.fitting,
        excluded=solution.excluded,
        near_best=solution.near_best,
        pareto=solution.pareto,
        coefficients=solution.coefficients,
    )
    winner, race, said = chooser.race(ranked, out)
    rivals = [c for c in (*measured, *given, *solution.pareto) if c.spec != winner.spec]
    table = [winner, *{c.name: c for c in rivals}.values()]
    recipe = chooser.recipe(winner)
    return Choice(
        spec=winner.spec,
        recipe=recipe,
        preprocessing=chooser.trials.preprocessing(winner),
        name=winner.name,
        why=f"{explain(ranked)}{said}{_regret(winner, given)}",
        predicted=winner.to_dict(),
        candidates=tuple(c.to_dict() for c in table),
        pareto=tuple(c.to_dict() for c in solution.pareto),
        law_sd=solution.law_sd,
        law_source=chooser.law.source,
        coefficients=along.to_dict() if along else None,
        pretrained=winner.pretrained,
        race=race,
    )


def _regret(winner: Candidate, given: list[Candidate]) -> str:
    """What a longer training, or a shorter one allowed, would have let in."""
    better = [c for c in given if c.excluded_by and c.error < winner.error]
    if not better:
        return ""
    best = min(better, key=lambda c: c.error)
    mend = "Raise that limit"
    if all(limit.met or limit.name == "train_minutes" for limit in best.limits):
        mend = "Give it the time, or allow fewer epochs: --min-epochs"
    return (
        f" {best.name} is foretold {100 * best.error:.1f} % but is ruled out "
        f"({best.excluded_by}). {mend}."
    )


def seconds_trained(run: Path) -> float:
    """Time that training took, pauses between kill and resume left out."""
    return max((record["seconds"] for record in read_log(run)), default=0.0)
