"""The steps of a choice: what is at hand, what is solved for, what measurements mend, a race."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from phiscale.arch.families import get_spec
from phiscale.arch.spec import Spec
from phiscale.data.audit import Audit
from phiscale.data.datasets.dataset import ImageSet
from phiscale.deploy.calibrate import measured_latency_ms
from phiscale.errors import BudgetError, WeightsError
from phiscale.pipeline.short_runs import Trials, native_pixels, recipe_for
from phiscale.planning.budget import (
    MAX_EPOCHS,
    Budget,
    Candidate,
    PlanningTask,
    Pretraining,
    Solution,
    estimate,
    fewest_epochs,
    finalists,
    rank,
    solve,
)
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceModel
from phiscale.planning.laws import ErrorLaw
from phiscale.planning.priors import law_for
from phiscale.training.recipes.recipe import Recipe
from phiscale.weights.pretrained import best_known
from phiscale.weights.sources import weights_file
from phiscale.weights.store import read_metadata

logger = logging.getLogger(__name__)

# Error beyond B0's at the same scaling: ImageNet, both without AutoAugment, from the READMEs of
# tensorflow/tpu's EfficientNet (76.7 %) and EfficientNet-Lite (75.1 %).
HANDICAPS = {"efficientnet_lite0": 0.016}
MOST_KNOWN = 2  # pretrained networks that `--pretrained auto` fetches
TIME_USED = 0.88  # of --train-minutes: the rest covers saving and a machine that gets slower
MEASURED_SHARE = 0.012  # of --train-minutes: every finalist's speed, to plan with
RACE_SHARE = 0.15  # of --train-minutes, at most
LEAST_RACE_S = 30.0  # a finalist's turn; shorter ones say nothing
LEAST_RACE_EPOCHS = 2  # what fewer teach a network says little of what more will
RACED = 0.85  # of a runner's turn: evaluation takes the rest
EVALUATION_SPEED = 3.0  # images evaluated in the time of one trained
EVALUATION_SHARE = 0.03


class Chooser:
    """What every step of the choice needs to know."""

    def __init__(
        self,
        images: ImageSet,
        audit: Audit,
        budget: Budget,
        device: DeviceModel,
        bases: tuple[str, ...],
        law: ErrorLaw | None,
        along: Coefficients | None,
        min_epochs: float | None,
        trials: Trials,
        elsewhere: bool,
        pretrained: Mapping[str, Path],
    ):
        self.images, self.audit, self.budget, self.device = images, audit, budget, device
        self.bases, self.along, self.trials = bases, along, trials
        self.min_epochs, self.elsewhere = min_epochs, elsewhere
        self.offers = dict(pretrained)
        self.speeds: dict[str, float] = {}  # of those, measured
        self.over = self._base(bases[0])
        self.law = law or (along and along.law_over(self.over)) or law_for(self.over)
        self.seconds_used = 0.0  # of the training's, by measuring and racing

    def _base(self, name: str) -> Spec:
        return replace(get_spec(name), classes=len(self.images.classes))

    def _task(self, pretrained: bool = False, min_epochs: float | None = None) -> PlanningTask:
        """What is planned for; `min_epochs`: instead of the request's."""
        recipe = recipe_for(self.images, self.audit, pretrained=pretrained)
        return PlanningTask(
            train_images=len(self.images.train),
            native_pixels=native_pixels(self.audit),
            device=self.device,
            law=self.law,
            coefficients=self.along,
            batch=recipe.batch,
            min_epochs=self.min_epochs if min_epochs is None else min_epochs,
            max_epochs=MAX_EPOCHS if self.budget.train_minutes else recipe.epochs,
            law_base=self.over,
        )

    def given(self) -> list[Candidate]:
        """Networks with weights at hand, their heads made anew for these classes."""
        found = []
        for name, path in self.offers.items():
            metadata = read_metadata(path)
            seen = metadata.metrics.get("validation", {}).get("images_seen")
            found.append(self._given(name, metadata.spec, str(path), seen))
        return found

    def _given(self, name: str, spec: Spec, source: str, seen: int | None = None) -> Candidate:
        return estimate(
            replace(spec, classes=len(self.images.classes)),
            self.budget,
            task=self._task(pretrained=True),
            name=name,
            pretraining=Pretraining(source) if seen is None else Pretraining(source, seen),
            images_per_s=self.speeds.get(name),
        )

    def take_known(self) -> None:
        """The best of the known weights that fit the budget are fetched, to compete."""
        fit: list[Candidate] = []
        before = len(self.offers)
        for known in best_known():
            spec = replace(get_spec(known.member), resolution=known.pixels)
            row = self._given(f"{known.member}.{known.tag}", spec, known.source)
            if row.excluded_by is None:
                fit.append(row)
        refused: list[str] = []
        for row in sorted(fit, key=lambda row: row.error):
            if len(self.offers) - before == MOST_KNOWN:
                break
            try:
                self.offers[row.name] = weights_file(row.name)
            except WeightsError as error:
                refused.append(str(error))
        if refused:
            logger.info(
                f"--pretrained auto: {len(refused)} of the known weights cannot be had: "
                f"{refused[0]}"
            )

    def time_given(self) -> None:
        """The training speed of each that meets the other limits: they are few, and a wrong model
        of the device must not rule them out."""
        if self.budget.train_minutes is None:
            return
        for candidate in self.given():
            if all(limit.met or limit.name == "train_minutes" for limit in candidate.limits):
                self.speeds[candidate.name] = self.speed(candidate)

    def at_measured_speed(self, from_scratch: bool) -> tuple[Solution, list[Candidate]]:
        """Solves, then trains the winner for seconds: where the model is far off, corrects it and
        asks again. Returns the finalists with their measured speeds too."""
        solution = self.within_measured_latency(self.given(), from_scratch)
        best = self.measured(solution.best)
        for _ in range(2):
            modelled, real = solution.best.train_images_per_s, best.train_images_per_s
            if self.budget.train_minutes is None or not modelled or not real:
                break
            if 0.8 < real / modelled < 1.25:
                break
            self.device = self.device.training_faster(real / modelled)
            solution = self.within_measured_latency(self.given(), from_scratch)
            best = self.measured(solution.best)
        rivals = self.fast_enough(finalists(solution))[1:]
        return solution, [best, *(self.measured(rival) for rival in rivals)]

    def within_measured_latency(self, given: list[Candidate], from_scratch: bool) -> Solution:
        """Solves, then times the winner's shape: where it is too slow, asks again for less."""
        allowed, asked, real = self.budget.latency_ms, self.budget, float("inf")
        for _ in range(5):
            try:
                solution = self._solve(asked, given, from_scratch)
            except BudgetError:
                if asked is self.budget:
                    raise
                break  # its message would name the limit that was tightened here
            if allowed is None or asked.latency_ms is None:
                return solution
            real = self.latency_ms(solution.best)
            how = "by the device model" if self.elsewhere else "measured"
            logger.info(f"{solution.best.name}: {real:.3g} ms {how}, {allowed:g} ms allowed")
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
        task = self._task()
        first, *others = self.bases
        beside = list(given)
        for name in others:  # the best of each competes with the first one's whole lattice
            with contextlib.suppress(BudgetError):
                best = solve(
                    self._base(name),
                    budget,
                    task=task,
                    name=name,
                    family_offset=HANDICAPS[name],
                ).best
                beside.append(replace(best, name=f"{name}, {best.name}"))
        return solve(self.over, budget, task=task, name=first, candidates=beside)

    def measured(self, candidate: Candidate) -> Candidate:
        """The same candidate with the speed of its real training, on these pictures and here.

        Half of the fewest epochs is enough by now: noise must not rule out what was solved for."""
        speed = self.speeds.get(candidate.name) or self.speed(candidate)
        least = self.min_epochs or fewest_epochs(candidate.pretrained is not None)
        return self._again(candidate, self.budget, speed, least / 2)

    def speed(self, candidate: Candidate) -> float:
        """Images per second of its training, measured; the time for that is counted."""
        start = time.monotonic()
        minutes = self.budget.train_minutes or 10.0
        speed = self.trials.images_per_s(candidate, max(2.0, MEASURED_SHARE * 60 * minutes))
        self.seconds_used += round(time.monotonic() - start)
        logger.info(f"{candidate.name}: {speed:.0f} images/s measured in training")
        return speed

    def _again(
        self, candidate: Candidate, budget: Budget, images_per_s: float | None, min_epochs: float
    ) -> Candidate:
        """The same candidate under another budget or at another speed."""
        weights = candidate.pretrained
        return estimate(
            candidate.spec,
            budget,
            task=self._task(bool(weights), min_epochs),
            name=candidate.name,
            pretraining=Pretraining(weights, candidate.pretrained_images) if weights else None,
            images_per_s=images_per_s,
            family_offset=candidate.family_offset,
        )

    def race(self, ranked: Solution, out: Path) -> tuple[Candidate, dict[str, Any], str]:
        """Trains the finalists briefly. What each does better or worse than the law foretold for so
        short a training is added to the law's prediction for the whole one: a short race alone
        would favour small networks. No race where the time it takes costs more error than the law
        is unsure of. Returns the winner, the race, and words for it."""
        runners = finalists(ranked)
        minutes = self.budget.train_minutes
        if len(runners) < 2 or minutes is None:
            return ranked.best, {}, ""
        turn = minutes * 60 * RACE_SHARE / len(runners)
        epochs = [
            turn * RACED * (r.train_images_per_s or 1) / len(self.images.train) for r in runners
        ]
        if turn < LEAST_RACE_S or min(epochs) < LEAST_RACE_EPOCHS:
            return ranked.best, {}, " But these minutes are too few for one."
        price = self._after(ranked.best, minutes * (1 - RACE_SHARE)).error - ranked.best.error
        if price > ranked.law_sd:
            said = f" But its minutes would cost {100 * price:.1f} points: no race."
            return ranked.best, {}, said
        rows: list[dict[str, Any]] = []
        for number, runner in enumerate(runners):
            lasts = epochs[number]
            logger.info(f"race {number + 1}/{len(runners)}: {runner.name}, {lasts:.1f} epochs")
            error = self.trials.error_after(runner, lasts, out / "race" / str(number))
            foretold = self._after(runner, turn * RACED / 60).error
            corrected = runner.error + error - foretold
            rows.append(
                {
                    "name": runner.name,
                    "validation_error": error,
                    "foretold": foretold,
                    "predicted": runner.error,
                    "corrected": corrected,
                }
            )
        best = min(range(len(rows)), key=lambda i: rows[i]["corrected"])
        self.seconds_used += turn * len(runners)
        errors = "; ".join(f"{r['name']} {100 * r['validation_error']:.1f} %" for r in rows)
        winner = runners[best]
        return winner, {"rows": rows}, f" Errors in the race: {errors}. Chosen: {winner.name}."

    def _after(self, candidate: Candidate, minutes: float) -> Candidate:
        """The same candidate, trained for so long."""
        budget = replace(self.budget, train_minutes=minutes)
        return self._again(candidate, budget, candidate.train_images_per_s, 1e-6)

    def recipe(self, winner: Candidate) -> Recipe:
        """With the length that the time allows, fixed here once and for all."""
        recipe = self.trials.recipe(winner)
        minutes, speed = self.budget.train_minutes, winner.train_images_per_s
        if minutes is None or speed is None:
            return recipe
        train_images, validation = len(self.images.train), len(self.images.validation)
        seconds = max(0.5, TIME_USED - self.seconds_used / 60 / minutes) * minutes * 60
        allowed = int(EVALUATION_SHARE * seconds * speed * EVALUATION_SPEED / max(1, validation))
        evaluations = max(3, min(recipe.evaluations, allowed))
        passed = evaluations * validation + (train_images if recipe.head == "probe" else 0)
        images = seconds * speed - passed / EVALUATION_SPEED
        epochs = min(MAX_EPOCHS, max(images, 1.0) / train_images)
        return replace(recipe, epochs=round(epochs, 4), evaluations=evaluations)


def _asked_less(candidate: Candidate, budget: Budget) -> Candidate:
    """The same candidate under a tightened limit of latency."""
    limits = tuple(
        replace(limit, allowed=budget.latency_ms) if limit.name == "latency_ms" else limit
        for limit in candidate.limits
    )
    return replace(candidate, limits=limits)
