"""Studies of CIFAR-10's size, whose trainings nobody runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from phiscale.arch.families import get_spec
from phiscale.search.engine.folder import DatasetInfo
from phiscale.search.engine.plan import PlanProgress
from phiscale.search.engine.trial import Trial
from phiscale.search.study.plan import ScalingStudy
from phiscale.search.study.presets import PRESETS
from phiscale.search.study.request import StudyRequest, plan_study
from support.synthetic import synthetic_result

CIFAR = DatasetInfo(
    source="cifar10",
    fingerprint="f",
    classes=tuple("abcdefghij"),
    native_pixels=32,
    train=45_000,
    validation=5_000,
    test_labels=np.arange(2000) % 10,
)
REQUEST = StudyRequest(base=get_spec("small"))


def plan_preset(preset: str) -> ScalingStudy:
    """A preset's plan for CIFAR-10."""
    return plan_study("x", PRESETS[preset], REQUEST, CIFAR)


def all_trials(plan: Any) -> list[Trial]:
    """Every trial of a plan, if all errors are equal."""
    progress = PlanProgress(plan)
    while not progress.finished:
        progress.advance(
            lambda _: {
                trial.key: synthetic_result(trial, 0.3, CIFAR.test_labels)
                for trial in progress.stage_trials
            }
        )
    return progress.completed
