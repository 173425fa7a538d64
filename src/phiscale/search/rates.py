"""Does a recipe's learning rate serve the scalings of a network? Each is trained at rates a factor
2 apart around the one that the recipe takes for it; the report says where the best one lies.

This checks the rule of `sizing`: a rate that was tuned on one network, scaled by the rule, is
within one step of the best of networks that are deeper and wider (the optimum's drift with depth
and width: Yang et al., arXiv:2203.03466).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from phiscale.arch.scaling import Scaling, scale
from phiscale.arch.spec import Spec
from phiscale.errors import TrainingError, UsageError
from phiscale.files import read_checked, write_atomic, write_json
from phiscale.training.log import read_log
from phiscale.training.parallel.processes import ProcessGroup
from phiscale.training.recipes.recipe import Recipe
from phiscale.training.recipes.table import RecipeEntry
from phiscale.training.run import TrainRequest, check_run_folder, checked_images, train_run
from phiscale.training.runtime import Runtime
from phiscale.training.state import RUN_FIX

logger = logging.getLogger(__name__)

RESULT, REPORT = "rates.json", "rates.md"


@dataclass(frozen=True, kw_only=True)
class Net:
    """A scaling and what its trainings gave."""

    depth: float
    width: float
    rule: float  # the peak rate that the recipe takes for it
    errors: Mapping[int, float]  # of validation, by power of 2 of the rate over the rule's

    @property
    def name(self) -> str:
        return f"depth x{self.depth:g}, width x{self.width:g}"

    @property
    def best(self) -> float:
        """The power of 2 at the bottom of the parabola through the best rate and its neighbours; at
        the end of the grid, the end."""
        best = min(sorted(self.errors), key=self.errors.__getitem__)
        near = [best - 1, best, best + 1]
        if not self.errors.keys() >= set(near):
            return float(best)
        a, b, _ = np.polyfit(near, [self.errors[step] for step in near], 2)
        return float(-b / (2 * a)) if a > 0 else float(best)


def compare_rates(
    spec: Spec,
    data: str,
    out: Path,
    recipe: Recipe,
    runtime: Runtime,
    *,
    named: RecipeEntry,
    depths: Sequence[float],
    widths: Sequence[float],
    steps: int,
    resolution: int | None = None,
    device: str = "auto",
    command: str = "",
) -> list[Net]:
    """Trains `spec` at all `depths` x `widths` and 2 x `steps` + 1 rates, each in a folder in
    `out`; begun again it goes on. Writes rates.json and rates.md there."""
    if steps < 1:
        raise UsageError(f"steps={steps} compares nothing. Use 1 or more.")
    check_run_folder(out, RESULT)
    about: dict[str, Any] = {"command": command, "networks": []}
    nets: list[Net] = []
    images = checked_images(data, out, "stop", ProcessGroup(), runtime.workers)
    if not (out / RESULT).exists():
        write_json(out / RESULT, about)  # whose folder this is
    for depth in depths:
        for width in widths:
            net = scale(spec, Scaling(depth=depth, width=width))
            errors: dict[int, float] = {}
            rule = recipe.optim.lr_peak
            for step in (0, *(s for n in range(1, steps + 1) for s in (-n, n))):
                run = out / f"depth{depth:g}-width{width:g}-rate{2.0**step:g}"
                logger.info(f"{run.name}: {len(nets) + 1} of {len(depths) * len(widths)} networks")
                optim = replace(recipe.optim, lr_peak=rule * 2.0**step)
                try:
                    request = TrainRequest(
                        spec=net,
                        data=images,
                        audited=True,
                        recipe=replace(recipe, optim=optim) if step else recipe,
                        entry=named,
                        resolution=resolution,
                    )
                    train_run(request, run, runtime, device=device)
                except TrainingError as error:  # it diverged: an answer, too
                    logger.info(str(error))
                if not step:  # as the recipe has grown for this network
                    rule = Recipe.from_dict(
                        read_checked(run / "recipe.json", RUN_FIX)
                    ).optim.lr_peak
                tops = [r["validation_top1"] for r in read_log(run) if "validation_top1" in r]
                errors[step] = round(1 - tops[-1], 6) if tops else 1.0
            errors = {step: errors[step] for step in sorted(errors)}
            nets.append(Net(depth=depth, width=width, rule=rule, errors=errors))
            about["networks"].append({**asdict(nets[-1]), "best": round(nets[-1].best, 3)})
            write_json(out / RESULT, about)
    write_atomic(out / REPORT, "\n".join(report(nets, command)) + "\n")
    return nets


def report(nets: Sequence[Net], command: str) -> list[str]:
    """A table in Markdown, and a sentence that says whether the rule holds."""
    steps = sorted(nets[0].errors)
    lines = [
        "# Does the learning rate transfer?",
        "",
        f"Made by `{command}`. Validation errors at the rule's rate times a power of 2.",
        "One seed: the question is whether the best rate is within a step of the rule's.",
        "",
        "| network | rule | "
        + " | ".join(f"x{2.0**s:g}" for s in steps)
        + " | best, in steps from the rule | drift of the best rate |",
        "|---|---:|" + "---:|" * (len(steps) + 2),
    ]
    base = nets[0]
    for net in nets:
        errors = " | ".join(f"{100 * net.errors[s]:.1f} %" for s in steps)
        drift = np.log2(net.rule / base.rule) + net.best - base.best
        lines.append(f"| {net.name} | {net.rule:.3g} | {errors} | {net.best:+.2f} | {drift:+.2f} |")
    worst = max(nets, key=lambda net: abs(net.best))
    at_end = [net.name for net in nets if abs(net.best) == max(steps)]
    holds = "The rule holds" if abs(worst.best) <= 1 else "The rule does not hold"
    lines += [
        "",
        f"{holds}: the best rate is off by at most {abs(worst.best):.2f} steps of factor "
        f"2 ({worst.name}).",
    ]
    if at_end:
        lines.append(
            f"At the end of the grid, so perhaps beyond it: {', '.join(at_end)}; "
            f"use steps={max(steps) + 1}."
        )
    return lines
