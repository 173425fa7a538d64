"""How `fit` chooses: exact costs and a law propose, measurements correct, a short race on the
validation split decides between networks that the law cannot tell apart.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from phiscale.budget import (
    MAX_EPOCHS,
    Budget,
    Candidate,
    Solution,
    explain,
    finalists,
    rank,
    solve,
    weigh,
)
from phiscale.data.audit import Audit
from phiscale.data.loader import CACHE_BYTES
from phiscale.data.preprocessing import Preprocessing
from phiscale.data.splits import ImageSet, Split
from phiscale.deploy.calibrate import (
    measured_latency_ms,
)
from phiscale.device import DeviceModel
from phiscale.errors import BudgetError
from phiscale.families import get_spec
from phiscale.laws import ErrorLaw
from phiscale.spec import Spec
from phiscale.train.lanes import lanes_for
from phiscale.train.loop import read_log, train
from phiscale.train.recipe import Recipe
from phiscale.train.recipes import RECIPES
from phiscale.weights.store import read as read_weights

SMALL_PICTURES = 64  # pixels; above, the base has EfficientNet's stem
# Error beyond B0's at the same scaling: ImageNet, both without AutoAugment, from the READMEs of
# tensorflow/tpu's EfficientNet (76.7 %) and EfficientNet-Lite (75.1 %).
HANDICAPS = {"efficientnet_lite0": 0.016}
TIME_USED = 0.97  # of --train-minutes: the rest covers saving and noise
RACE_SHARE = 0.15  # of --train-minutes, at most
LEAST_RACE_S = 30.0  # a finalist's turn; shorter ones say nothing
WARM_STEPS = 4
MEASURED_S = 8.0  # of each finalist's training, to plan with
EVALUATION_SPEED = 3.0  # images evaluated in the time of one trained
EVALUATION_SHARE = 0.06


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
    pretrained: str | None = None
    race: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "spec": self.spec.to_dict(), "recipe": self.recipe.to_dict(),
                "preprocessing": self.preprocessing.to_dict()}  # fmt: skip

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Choice:
        read = {
            "spec": Spec.from_dict(data["spec"]),
            "recipe": Recipe.from_dict(data["recipe"]),
            "preprocessing": Preprocessing.from_dict(data["preprocessing"]),
        }
        return Choice(**{**data, **read})


def recipe_for(images: ImageSet, audit: Audit, *, pretrained: bool = False) -> Recipe:
    """The named recipe that suits these pictures; `balanced` where classes differ much in size."""
    if pretrained:
        name = "finetune"
    elif images.source in ("digits", "mnist", "kmnist"):
        name = "characters"
    else:
        name = "small-images" if native_pixels(audit) <= SMALL_PICTURES else "photos"
    weights = "balanced" if audit.imbalance > 2 else "none"
    return replace(RECIPES[name], class_weights=weights)


def native_pixels(audit: Audit) -> int:
    """What a typical picture really has, along its shorter side."""
    assert audit.shorter_side is not None
    return int(audit.shorter_side.median)


def bases_for(audit: Audit) -> tuple[str, ...]:
    """The members whose scalings compete from scratch; the law counts multiples of the first."""
    small = native_pixels(audit) <= SMALL_PICTURES
    return ("small",) if small else ("efficientnet_b0", *HANDICAPS)


def preprocessing_for(spec: Spec, audit: Audit) -> Preprocessing:
    """Small pictures are taken whole; of photos the centre, where that leaves real pixels."""
    whole = native_pixels(audit) * 0.875 < spec.resolution or native_pixels(audit) <= SMALL_PICTURES
    return Preprocessing(size=spec.resolution, crop=1.0 if whole else 0.875)


def choose(
    images: ImageSet, audit: Audit, budget: Budget, device: DeviceModel, out: Path, *,
    base: str | None = None, law: ErrorLaw | None = None, pretrained: tuple[Path, ...] = (),
    from_scratch: bool = True, seed: int = 0, min_epochs: float | None = None,
    elsewhere: bool = False, tell: Callable[[str], None],
) -> Choice:  # fmt: skip
    """The best network within the budget for these images. Raises BudgetError.

    `elsewhere`: `device` is another machine, so latencies are its model's word, not measured here.
    """
    chooser = _Chooser(
        images, audit, budget, device, (base,) if base else bases_for(audit), law, min_epochs, seed,
        elsewhere,
    )  # fmt: skip
    given = [chooser.pretrained(path) for path in pretrained]
    solution, measured = chooser.at_measured_speed(given, from_scratch, tell)
    others = [c for c in given if c.name not in {m.name for m in measured}]
    ranked = rank([*measured, *others], sd=solution.sd)
    ranked = replace(ranked, considered=solution.considered, fitting=solution.fitting,
                     ruled_out=solution.ruled_out, indifferent=solution.indifferent,
                     pareto=solution.pareto)  # fmt: skip
    winner, race, said = chooser.race(ranked, out, tell)
    rivals = [c for c in (*measured, *given, *solution.pareto) if c.spec != winner.spec]
    table = [winner, *{c.name: c for c in rivals}.values()]
    recipe = chooser.recipe(winner)
    return Choice(
        spec=winner.spec,
        recipe=recipe,
        preprocessing=preprocessing_for(winner.spec, audit),
        name=winner.name,
        why=f"{explain(ranked)}{said}",
        predicted=winner.to_dict(),
        candidates=tuple(c.to_dict() for c in table),
        pareto=tuple(c.to_dict() for c in solution.pareto),
        law_sd=solution.sd,
        pretrained=winner.pretrained,
        race=race,
    )


class _Chooser:
    """What every step of the choice needs to know."""

    def __init__(
        self, images: ImageSet, audit: Audit, budget: Budget, device: DeviceModel,
        bases: tuple[str, ...], law: ErrorLaw | None, min_epochs: float | None, seed: int,
        elsewhere: bool,
    ):  # fmt: skip
        self.images, self.audit, self.budget, self.device = images, audit, budget, device
        self.bases, self.law, self.seed = bases, law, seed
        self.min_epochs, self.elsewhere = min_epochs, elsewhere
        self.over = self._base(bases[0])
        self.seconds_used = 0.0  # of the training's, by measuring and racing

    def _base(self, name: str) -> Spec:
        return replace(get_spec(name), classes=len(self.images.classes))

    def _rules(self) -> dict[str, Any]:
        epochs = (
            MAX_EPOCHS if self.budget.train_minutes else recipe_for(self.images, self.audit).epochs
        )
        return {"law": self.law, "device": self.device, "train_images": len(self.images.train),
                "native_pixels": native_pixels(self.audit), "max_epochs": epochs}  # fmt: skip

    def pretrained(self, path: Path) -> Candidate:
        """A network with weights at hand, its head made anew for these classes."""
        card, _ = read_weights(path / "best.safetensors" if path.is_dir() else path)
        spec = replace(card.spec, classes=len(self.images.classes))
        return weigh(spec, self.budget, over=self.over, name=path.stem, pretrained=str(path),
                     min_epochs=self.min_epochs, **self._rules())  # fmt: skip

    def at_measured_speed(
        self, given: list[Candidate], from_scratch: bool, tell: Callable[[str], None]
    ) -> tuple[Solution, list[Candidate]]:
        """Solves, then trains the winner for seconds: where the model is far off, corrects it and
        asks again. Returns the finalists with their measured speeds too."""
        solution = self.within_measured_latency(given, from_scratch, tell)
        best = self.measured(solution.best, tell)
        for _ in range(2):
            modelled, real = solution.best.train_images_per_s, best.train_images_per_s
            if self.budget.train_minutes is None or not modelled or not real:
                break
            if 0.8 < real / modelled < 1.25:
                break
            self.device = self.device.training_faster(real / modelled)
            solution = self.within_measured_latency(given, from_scratch, tell)
            best = self.measured(solution.best, tell)
        rivals = self.fast_enough(finalists(solution))[1:]
        return solution, [best, *(self.measured(rival, tell) for rival in rivals)]

    def within_measured_latency(
        self, given: list[Candidate], from_scratch: bool, tell: Callable[[str], None]
    ) -> Solution:
        """Solves, then times the winner's shape: where it is too slow, asks again for less."""
        allowed, asked, real = self.budget.latency_ms, self.budget, float("inf")
        for _ in range(5):
            solution = self._solve(asked, given, from_scratch)
            if allowed is None or asked.latency_ms is None:
                return solution
            real = self.latency_ms(solution.best)
            how = "by the device model" if self.elsewhere else "measured"
            tell(f"{solution.best.name}: {real:.3g} ms {how}, {allowed:g} ms allowed")
            if real <= allowed:
                return solution
            asked = replace(asked, latency_ms=asked.latency_ms * allowed / real * 0.95)
            given = [_asked_less(candidate, asked) for candidate in given]
        raise BudgetError(
            f"no network was within --latency-ms {allowed:g}; the last one took "
            f"{real:.3g} ms. Raise it to {real * 1.1:.2g}, or try again on an idle machine."
        )

    def fast_enough(self, found: tuple[Candidate, ...]) -> list[Candidate]:
        """The first, whose latency has been measured, and those of the others that keep it too."""
        limit = self.budget.latency_ms
        if limit is None:
            return list(found)
        return [found[0], *(c for c in found[1:] if self.latency_ms(c) <= limit)]

    def latency_ms(self, candidate: Candidate) -> float:
        """Of the network's shape, here; of another device, its model's word has to do."""
        if self.elsewhere:
            return candidate.latency_ms or 0.0
        return measured_latency_ms(candidate.spec)

    def _solve(self, budget: Budget, given: list[Candidate], from_scratch: bool) -> Solution:
        if not from_scratch:
            return rank(given, sd=0.01)
        rules = self._rules()
        if self.min_epochs is not None:
            rules["min_epochs"] = self.min_epochs
        first, *others = self.bases
        beside = list(given)
        for name in others:  # the best of each competes with the first one's whole lattice
            with contextlib.suppress(BudgetError):
                best = solve(self._base(name), budget, over=self.over, name=name,
                             handicap=HANDICAPS[name], **rules).best  # fmt: skip
                beside.append(replace(best, name=f"{name}, {best.name}"))
        return solve(self.over, budget, name=first, beside=beside, **rules)

    def measured(self, candidate: Candidate, tell: Callable[[str], None]) -> Candidate:
        """The same candidate with the speed of its real training, on these pictures and here."""
        speed = self.images_per_s(candidate)
        self.seconds_used += MEASURED_S
        tell(f"{candidate.name}: {speed:.0f} images/s measured in training")
        return weigh(
            candidate.spec, self.budget, over=self.over, name=candidate.name,
            pretrained=candidate.pretrained, images_per_s=speed, head_start=candidate.head_start,
            handicap=candidate.handicap, min_epochs=self.min_epochs, **self._rules(),
        )  # fmt: skip

    def images_per_s(self, candidate: Candidate) -> float:
        """Of a few seconds of the loop itself: with reading, augmenting, averaging and logging."""
        recipe = self._recipe(candidate)
        first = self._images_per_s(candidate, recipe, 8)
        steps = round(first * MEASURED_S / recipe.batch)
        return first if steps < 16 else self._images_per_s(candidate, recipe, steps)

    def _images_per_s(self, candidate: Candidate, recipe: Recipe, steps: int) -> float:
        pictures = self._pictures_to_measure(candidate.spec.resolution, WARM_STEPS * recipe.batch)
        epochs = steps * recipe.batch / len(pictures)
        few = self.images.validation.subset(range(min(8, len(self.images.validation))))
        with TemporaryDirectory() as folder:
            train(
                Path(folder), candidate.spec, 
                replace(self.images, train=pictures, validation=few),
                replace(recipe, epochs=epochs, evaluations=1),
                preprocessing_for(candidate.spec, self.audit),
            )  # fmt: skip
            times = [record["time"] for record in read_log(Path(folder)) if "loss" in record]
        warm = min(WARM_STEPS, len(times) // 2)  # they plan, and read the pictures first
        return (len(times) - 1 - warm) * recipe.batch / max(1e-3, times[-1] - times[warm])

    def _pictures_to_measure(self, pixels: int, count: int) -> Split:
        """So few that they are read once and then at hand, as all are in a long training whose
        pictures fit in memory; all of them where they do not fit."""
        train = self.images.train
        if len(train) <= count or len(train) * 3 * (1.3 * pixels) ** 2 > CACHE_BYTES:
            return train
        return train.subset(range(0, len(train), len(train) // count)[:count])

    def race(
        self, ranked: Solution, out: Path, tell: Callable[[str], None]
    ) -> tuple[Candidate, dict[str, Any], str]:
        """Trains the finalists briefly. What each does better or worse than the law foretold for so
        short a training is added to the law's prediction for the whole one: a short race alone
        would favour small networks. No race where the time it takes costs more error than the law
        is unsure of. Returns the winner, the race, and words for it."""
        runners = finalists(ranked)
        minutes = self.budget.train_minutes
        turn = 0.0 if minutes is None else minutes * 60 * RACE_SHARE / len(runners)
        if len(runners) < 2 or minutes is None or turn < LEAST_RACE_S:
            return ranked.best, {}, ""
        price = self._after(ranked.best, minutes * (1 - RACE_SHARE)).error - ranked.best.error
        if price > ranked.sd:
            return (
                ranked.best,
                {},
                f" But its minutes would cost {100 * price:.1f} points: no race.",
            )
        rows: list[dict[str, Any]] = []
        for number, runner in enumerate(runners):
            speed = runner.train_images_per_s or 1.0
            epochs = speed * turn * 0.85 / len(self.images.train)
            recipe = replace(self._recipe(runner), epochs=epochs, evaluations=1)
            tell(f"race {number + 1}/{len(runners)}: {runner.name}, {epochs:.1f} epochs")
            run = out / "race" / str(number)
            start_from = Path(runner.pretrained) if runner.pretrained else None
            train(run, runner.spec, self.images, recipe,
                  preprocessing_for(runner.spec, self.audit), start_from=start_from)  # fmt: skip
            error = 1 - max(r.get("validation_top1", 0.0) for r in read_log(run))
            foretold = self._after(runner, turn * 0.85 / 60).error
            corrected = runner.error + error - foretold
            rows.append({"name": runner.name, "validation_error": error, "foretold": foretold,
                         "predicted": runner.error, "corrected": corrected})  # fmt: skip
        best = min(range(len(rows)), key=lambda i: rows[i]["corrected"])
        self.seconds_used += turn * len(runners)
        errors = "; ".join(f"{r['name']} {100 * r['validation_error']:.1f} %" for r in rows)
        winner = runners[best]
        return winner, {"rows": rows}, f" Errors in the race: {errors}. Chosen: {winner.name}."

    def _after(self, candidate: Candidate, minutes: float) -> Candidate:
        """The same candidate, trained for so long."""
        return weigh(candidate.spec, replace(self.budget, train_minutes=minutes), over=self.over,
                     images_per_s=candidate.train_images_per_s, head_start=candidate.head_start,
                     handicap=candidate.handicap, min_epochs=1e-6, **self._rules())  # fmt: skip

    def _recipe(self, candidate: Candidate) -> Recipe:
        named = recipe_for(self.images, self.audit, pretrained=bool(candidate.pretrained))
        return replace(named, seed=self.seed, lanes=lanes_for(named.batch))

    def recipe(self, winner: Candidate) -> Recipe:
        """With the length that the time allows, fixed here once and for all."""
        recipe = self._recipe(winner)
        minutes, speed = self.budget.train_minutes, winner.train_images_per_s
        if minutes is None or speed is None:
            return recipe
        train_images, validation = len(self.images.train), len(self.images.validation)
        seconds = max(0.5, TIME_USED - self.seconds_used / 60 / minutes) * minutes * 60
        allowed = int(EVALUATION_SHARE * seconds * speed * EVALUATION_SPEED / max(1, validation))
        evaluations = max(3, min(recipe.evaluations, allowed))
        images = seconds * speed - evaluations * validation / EVALUATION_SPEED
        epochs = min(MAX_EPOCHS, max(images, 1.0) / train_images)
        return replace(recipe, epochs=round(epochs, 4), evaluations=evaluations)


def _asked_less(candidate: Candidate, budget: Budget) -> Candidate:
    """The same candidate under a tightened limit of latency."""
    limits = tuple(
        replace(limit, allowed=budget.latency_ms) if limit.name == "latency_ms" else limit
        for limit in candidate.limits
    )
    return replace(candidate, limits=limits)


def seconds_trained(run: Path) -> float:
    """Time that training took, pauses between kill and resume left out."""
    times = [record["time"] for record in read_log(run)]
    return sum(b - a for a, b in itertools.pairwise(times) if 0 <= b - a < 120)
