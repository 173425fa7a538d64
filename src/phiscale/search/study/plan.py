"""The scaling study: does scaling all three dimensions together beat scaling one, on these
pictures? Everything is fixed before the first training: arms of equal compute, one recipe whose
rate each arm tunes for itself, seeds, and the rule of the verdict (analysis.settle).

    base                              the network all others are scaled from
    depth, width, resolution          one dimension takes all the compute
    compound                          the paper's shares of it
    symmetric                         what equal returns of all three would choose: the null
    inverse                           the paper's shares of depth and resolution swapped
    beyond                            more pixels than the pictures have: no gain is expected
    longer                            the base trained as many times longer as the others are dearer
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from phiscale.arch.costs import cost
from phiscale.arch.families.small import SMALL_PIXELS
from phiscale.arch.scaling import STRATEGIES, Scaling, Strategy, scale
from phiscale.arch.spec import Spec
from phiscale.data.augment.augment import Augment
from phiscale.errors import UsageError
from phiscale.search.engine.plan import Stages
from phiscale.search.engine.result import Result
from phiscale.search.engine.trial import Trial, TrialConditions
from phiscale.search.engine.tuning import Tuning, successive_halving
from phiscale.search.spaces.rays import INVERSE, TOLERANCE, match_compute, symmetric
from phiscale.training.recipes.recipe import Optim, Recipe, Schedule

SINGLE = ("depth", "width", "resolution")
OTHER = ("longer", "beyond")  # arms of another compute than the rest
FURTHEST = 0.15  # from the shares asked for, in logs: an arm is what it is called

# Nesterov's SGD, one cycle that ends at nothing; the shift grows with the pictures.
RECIPE = Recipe(
    batch=128,
    optim=Optim(name="sgd", lr_peak=0.4, weight_decay=5e-4),
    schedule=Schedule(warmup_fraction=0.25),
    augment=Augment(frame="shift", shift=0.12),
    evaluations=1,
)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A network that takes part, and where rounding has put it."""

    name: str
    spec: Spec
    by: Scaling  # over the base, as built: blocks, channels, pixels
    compute: float  # exact MACs over the base's
    epochs: float
    off_ray: float = 0.0  # distance from the shares asked for, in logs of the multipliers


@dataclass(frozen=True, kw_only=True)
class ScalingStudy:
    """The plan of one study."""

    conditions: TrialConditions
    arms: tuple[Arm, ...]
    seeds: int
    tuning: Tuning

    def stages(self) -> Stages[Outcome]:
        """Tunes every arm, then trains each with every seed."""
        arms = {arm.name: arm for arm in self.arms}
        chosen = yield from successive_halving(
            [name for name in arms if name != "longer"],
            self.conditions.recipe,
            self.tuning,
            lambda name, recipe: self._trial(arms[name], recipe, "tuning"),
        )
        trials = {
            (arm.name, seed): self._trial(
                arm,
                replace(chosen.get(arm.name, chosen["base"]), epochs=arm.epochs, seed=seed),
                "study",
            )
            for seed in range(self.conditions.seed, self.conditions.seed + self.seeds)
            for arm in self.arms
        }
        results = yield list(trials.values())
        runs = {name: results[trial.key] for name, trial in trials.items()}
        return Outcome(chosen=chosen, runs=runs)

    def _trial(self, arm: Arm, recipe: Recipe, stage: str) -> Trial:
        counts = stage == "study"
        what = (
            f"seed {recipe.seed}"
            if counts
            else (
                f"rate {recipe.optim.lr_peak:g}, drop path {recipe.drop_path:g}, "
                f"{recipe.epochs:.2g} epochs"
            )
        )
        return self.conditions.trial(
            f"{arm.name}, {what}",
            arm.spec,
            recipe,
            stage=stage,
            test=counts,
            attrs={"arm": arm.name, **asdict(arm.by)},
        )

    def to_dict(self) -> dict[str, Any]:
        """What the folder of the study says that it is."""
        arms = {arm.name: {**asdict(arm), "spec": arm.spec.to_dict()} for arm in self.arms}
        return {
            **self.conditions.to_dict(seeds=self.seeds),
            "tuning": asdict(self.tuning),
            "arms": arms,
        }


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was trained: of each arm the recipe it chose, and of each seed its result."""

    chosen: Mapping[str, Recipe]
    runs: Mapping[tuple[str, int], Result]

    def of(self, arm: str) -> list[Result]:
        """Of all seeds, in their order."""
        return [run for (name, _), run in sorted(self.runs.items()) if name == arm]


def arms_for(
    base: Spec,
    *,
    compute: float,
    epochs: float,
    names: Sequence[str],
    native_pixels: int | None = None,
    tolerance: float = TOLERANCE,
) -> tuple[Arm, ...]:
    """The named arms, matched to `compute` times the base's exact MACs within `tolerance`.

    UsageError: an arm would need more pixels than the pictures have (all but `beyond`).
    """
    base_macs = cost(base).macs
    rays: dict[str, Strategy | Scaling] = {
        **{name: STRATEGIES[name] for name in (*SINGLE, "compound")},
        "symmetric": symmetric(compute),
        "inverse": INVERSE,
    }
    found: list[Arm] = []
    for name in names:
        if name in ("base", "longer"):
            longer = compute if name == "longer" else 1.0
            found.append(
                Arm(name=name, spec=base, by=Scaling(), compute=1.0, epochs=epochs * longer)
            )
            continue
        if name == "beyond":
            if native_pixels is None:
                continue
            by = Scaling(resolution=1.5 * native_pixels / base.resolution)
            spec = scale(base, by)
            found.append(
                Arm(name=name, spec=spec, by=by, compute=cost(spec).macs / base_macs, epochs=epochs)
            )
            continue
        try:
            at = match_compute(base, rays[name], compute * base_macs, tolerance=tolerance)
        except UsageError as error:
            raise UsageError(
                f"arm {name}: {str(error).partition('. Use ')[0]}. Begin elsewhere: another "
                "`resolution` or `model`."
            ) from None
        if at.off_ray > FURTHEST:
            raise UsageError(
                f"arm {name} would be depth x{at.by.depth:.2f}, width x{at.by.width:.2f}, "
                f"resolution x{at.by.resolution:.2f}: nothing nearer to it has {compute:g} times "
                "the base's MACs. Begin elsewhere: another `resolution` or `model`."
            )
        if native_pixels is not None and at.spec.resolution > native_pixels:
            step = 8 if native_pixels > SMALL_PIXELS else 4
            fits = min(
                native_pixels // 2, int(base.resolution * native_pixels / at.spec.resolution)
            )
            raise UsageError(
                f"arm {name} needs {at.spec.resolution} px, the pictures have {native_pixels}. "
                f"Begin lower: resolution={max(step, fits // step * step)}."
            )
        found.append(
            Arm(
                name=name,
                spec=at.spec,
                by=at.by,
                compute=at.compute_ratio,
                epochs=epochs,
                off_ray=at.off_ray,
            )
        )
    return tuple(found)
