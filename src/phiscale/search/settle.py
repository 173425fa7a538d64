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

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from phiscale.costs import cost
from phiscale.data.augment import Augment
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import TrainingError, UsageError
from phiscale.scaling import STRATEGIES, Scaling, Strategy, scale
from phiscale.search.baselines import INVERSE, TOLERANCE, matched, symmetric
from phiscale.search.trial import Result, Trial
from phiscale.search.workers import Stages
from phiscale.spec import Spec
from phiscale.train.recipe import Optim, Recipe, Schedule

SINGLE = ("depth", "width", "resolution")
TUNING_SEED = 1000  # of no run that counts

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
class Tuning:
    """Successive halving within each arm: its rates at part of the length, the better half again at
    more of it. Never across arms: short trainings favour small networks."""

    rates: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8)
    drop_paths: tuple[float, ...] = (0.0,)
    lengths: tuple[float, ...] = (1 / 9, 1 / 3)  # of a training

    def __post_init__(self) -> None:
        if not self.rates or not self.drop_paths:
            raise UsageError("no rate to train at. Give one or more.")


@dataclass(frozen=True, kw_only=True)
class Settle:
    """The plan of one study."""

    data: str
    fingerprint: str
    arms: tuple[Arm, ...]
    recipe: Recipe
    crop: float  # of a picture's shorter side
    train_images: int | None
    seeds: int
    tuning: Tuning
    threads: int = 1

    def stages(self) -> Stages[Outcome]:
        """Tunes every arm, then trains each with every seed."""
        chosen: dict[str, Recipe] = {}
        tuned = [arm for arm in self.arms if arm.name != "longer"]
        field = {arm.name: self._recipes(arm) for arm in tuned}
        for length in self.tuning.lengths if len(next(iter(field.values()))) > 1 else ():
            trials = {
                arm.name: [self._tuning_trial(arm, recipe, length) for recipe in field[arm.name]]
                for arm in tuned
            }
            results = yield [trial for arm in tuned for trial in trials[arm.name]]
            for arm in tuned:
                errors = [results[trial.key].error for trial in trials[arm.name]]
                last = length == self.tuning.lengths[-1]
                keep = 1 if last else math.ceil(len(errors) / 2)
                best = sorted(range(len(errors)), key=lambda i: (errors[i], i))[:keep]
                if errors[best[0]] == 1.0:
                    raise TrainingError(f"no training of arm {arm.name} came to an end. "
                                        "Use lower rates.")  # fmt: skip
                field[arm.name] = [field[arm.name][i] for i in sorted(best)]
        chosen = {name: recipes[0] for name, recipes in field.items()}
        trials = {
            (arm.name, seed): self._trial(arm, chosen.get(arm.name, chosen["base"]), seed)
            for seed in range(self.seeds)
            for arm in self.arms
        }
        results = yield list(trials.values())
        return Outcome(
            chosen=chosen,
            runs={name: results[trial.key] for name, trial in trials.items()},
        )

    def _recipes(self, arm: Arm) -> list[Recipe]:
        """In the order of rates: of equals the lowest is taken."""
        return [
            replace(
                self.recipe, drop_path=drop_path, optim=replace(self.recipe.optim, lr_peak=rate)
            )
            for rate in sorted(self.tuning.rates)
            for drop_path in sorted(self.tuning.drop_paths)
        ]

    def _tuning_trial(self, arm: Arm, recipe: Recipe, length: float) -> Trial:
        rate = recipe.optim.lr_peak
        return self._of(
            arm, replace(recipe, epochs=arm.epochs * length, seed=TUNING_SEED),
            f"tuning {arm.name}, rate {rate:g}, {arm.epochs * length:.2g} epochs",
            stage="tuning", test=False,
        )  # fmt: skip

    def _trial(self, arm: Arm, recipe: Recipe, seed: int) -> Trial:
        return self._of(arm, replace(recipe, epochs=arm.epochs, seed=seed),
                        f"{arm.name}, seed {seed}", stage="study", test=True)  # fmt: skip

    def _of(self, arm: Arm, recipe: Recipe, name: str, *, stage: str, test: bool) -> Trial:
        return Trial(
            name=name, spec=arm.spec, recipe=recipe, data=self.fingerprint,
            preprocessing=Preprocessing(size=arm.spec.resolution, crop=self.crop),
            train_images=self.train_images, test=test, threads=self.threads,
            about={"arm": arm.name, "stage": stage, "seed": recipe.seed, "depth": arm.by.depth,
                   "width": arm.by.width, "resolution": arm.by.resolution},
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """What the folder of the study says that it is."""
        return {
            **{name: getattr(self, name) for name in
               ("data", "fingerprint", "crop", "train_images", "seeds", "threads")},
            "recipe": self.recipe.to_dict(), "tuning": asdict(self.tuning),
            "arms": [{**asdict(arm), "spec": arm.spec.to_dict()} for arm in self.arms],
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was trained: of each arm the recipe it chose, and of each seed its result."""

    chosen: Mapping[str, Recipe]
    runs: Mapping[tuple[str, int], Result]

    def of(self, arm: str) -> list[Result]:
        """Of all seeds, in their order."""
        return [run for (name, _), run in sorted(self.runs.items()) if name == arm]


def arms_for(
    base: Spec, *, compute: float, epochs: float, names: Sequence[str],
    native_pixels: int | None = None, tolerance: float = TOLERANCE,
) -> tuple[Arm, ...]:  # fmt: skip
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
            found.append(Arm(name=name, spec=base, by=Scaling(), compute=1.0,
                             epochs=epochs * longer))  # fmt: skip
            continue
        if name == "beyond":
            if native_pixels is None:
                continue
            by = Scaling(resolution=1.5 * native_pixels / base.resolution)
            spec = scale(base, by)
            found.append(Arm(name=name, spec=spec, by=by, compute=cost(spec).macs / base_macs,
                             epochs=epochs))  # fmt: skip
            continue
        at = matched(base, rays[name], compute * base_macs, tolerance=tolerance)
        if native_pixels is not None and at.spec.resolution > native_pixels:
            raise UsageError(
                f"arm {name} needs {at.spec.resolution} px, the pictures have {native_pixels}. "
                f"Begin lower: --resolution {int(base.resolution * native_pixels / at.spec.resolution)}"
                f" or a smaller --compute."
            )
        found.append(Arm(name=name, spec=at.spec, by=at.by, compute=at.compute, epochs=epochs,
                         off_ray=at.off_ray))  # fmt: skip
    return tuple(found)
