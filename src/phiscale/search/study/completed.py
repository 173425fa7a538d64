"""A study whose trainings are done: what its report and its CSV files are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from phiscale.errors import PhiscaleError
from phiscale.search.engine.folder import DatasetInfo
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.study.arms import UNMATCHED, Arm
from phiscale.search.study.contrasts import ArmResults
from phiscale.search.study.plan import Outcome, ScalingStudy
from phiscale.text import count_of


@dataclass(frozen=True, kw_only=True)
class CompletedStudy:
    """A study, its images and its results."""

    plan: ScalingStudy
    outcome: Outcome
    dataset: DatasetInfo
    runner: RunnerConfig
    latencies_ms: Mapping[str, float]  # of an image, by arm
    interim_looks: Sequence[int] = ()  # the numbers of seeds with which it was read before

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds for which no arm's training failed.

        A failed training has no accuracy, and 0 % for it would decide the verdict. PhiscaleError:
        fewer than 2 are left.
        """
        failed = {seed for (_, seed), run in self.outcome.runs.items() if run.failed}
        left = [seed for seed in self.plan.seed_range if seed not in failed]
        if len(left) < 2:
            reason = next(run.failed for run in self.outcome.runs.values() if run.failed)
            raise PhiscaleError(
                f"trainings of {len(failed)} of {self.plan.seeds} seeds failed ({reason}). "
                "See results/, and use more `seeds`."
            )
        return left

    @cached_property
    def arms(self) -> dict[str, ArmResults]:
        """The results of every arm, for the seeds that count."""
        return {arm.name: self._results(arm) for arm in self.plan.arms}

    @property
    def matched(self) -> dict[str, ArmResults]:
        """The arms of equal compute, and the base."""
        return {name: arm for name, arm in self.arms.items() if name not in UNMATCHED}

    @property
    def target_compute(self) -> float:
        """The mean compute of the matched arms, over the base's."""
        matched = [arm for arm in self.plan.arms if arm.name not in UNMATCHED]
        return float(np.mean([arm.network.compute_ratio for arm in matched][1:]))

    @property
    def train_images(self) -> int:
        """Training images of an epoch."""
        return self.plan.conditions.train_images or self.dataset.train

    def _results(self, arm: Arm) -> ArmResults:
        runs = [self.outcome.runs[arm.name, seed] for seed in self.seeds]
        return ArmResults(
            correct=np.stack([run.correct(self.dataset.test_labels) for run in runs]),
            validation=np.array([1 - run.error for run in runs]),
            compute_ratio=arm.network.compute_ratio,
        )


def describe_scope(study: CompletedStudy, under_trained: Sequence[str]) -> str:
    """Returns the conditions that a verdict holds for; each statement of a verdict needs them."""
    recipe = study.plan.conditions.recipe
    updates = recipe.images(study.train_images) // recipe.batch
    pixels = sorted(
        {arm.network.spec.resolution for arm in study.plan.arms if arm.name not in UNMATCHED}
    )
    resolution = f"{pixels[0]}" if len(pixels) == 1 else f"{pixels[0]} to {pixels[-1]}"
    names = " and ".join(under_trained)
    trained = f"under-trained: {names}" if names else "no arm is below the base"
    return (
        f"{recipe.epochs:g} epochs ({count_of(updates, 'update')}), {resolution} px, "
        f"{len(study.seeds)} seeds, {trained}"
    )


def failure_notes(study: CompletedStudy) -> list[str]:
    """Returns what a report says about failed trainings."""
    failed = [
        f"{name}, seed {seed} ({run.failed})"
        for (name, seed), run in sorted(study.outcome.runs.items())
        if run.failed
    ]
    if not failed:
        return []
    return [
        f"{len(failed)} trainings failed: {'; '.join(failed)}. Their seeds count for no arm, which "
        f"leaves {len(study.seeds)}. An arm that fails at times is worse than its accuracy."
    ]
