"""A trial: one training, described completely before it starts. This module imports no torch.

A trial's key is a hash of everything that decides its result. The same training is therefore one
trial, whichever study or machine asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from phiscale.arch.costs import cost
from phiscale.arch.spec import Spec
from phiscale.data.preprocessing import Preprocessing
from phiscale.files import canonical, sha256
from phiscale.training.recipes.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is trained, how, and on which images. `name` and `attrs` decide nothing: they are for
    people who read results."""

    name: str
    spec: Spec
    recipe: Recipe
    preprocessing: Preprocessing
    data: str  # fingerprint of the image set
    train_images: int | None = None  # as many per class as possible; None: all
    test: bool = False  # whether the network is evaluated on the test split, too
    threads: int = 1  # of torch: another number adds in another order
    attrs: Mapping[str, Any] = field(default_factory=dict)  # arm, seed, stage: numbers and words

    def to_dict(self) -> dict[str, Any]:
        """Everything that decides the result."""
        return {
            "spec": self.spec.to_dict(),
            "recipe": self.recipe.to_dict(),
            "preprocessing": self.preprocessing.to_dict(),
            "data": self.data,
            "train_images": self.train_images,
            "test": self.test,
            "threads": self.threads,
        }

    @cached_property
    def key(self) -> str:
        """Hash of the canonical form. Fields at their default, and whether 6 or 6.0 was written,
        do not change it."""
        return trial_key(self.to_dict())

    @cached_property
    def macs_spent(self) -> float:
        """Multiply-adds of one forward pass times the epochs: what trials of one plan are compared
        by."""
        return cost(self.spec).macs * self.recipe.epochs


def trial_key(payload: Mapping[str, Any]) -> str:
    """Returns the key of what `Trial.to_dict` gives; defaults may be left out of it."""
    return sha256(canonical(payload))[:16]


@dataclass(frozen=True, kw_only=True)
class TrialConditions:
    """What all trainings of a plan have in common."""

    data: str  # as the user wrote it; another machine may hold the images elsewhere
    fingerprint: str  # of the image set
    recipe: Recipe
    crop: float  # fraction of an image's shorter side
    train_images: int | None = None  # per epoch; None: all
    threads: int = 1  # of torch
    seed: int = 0  # the first one
    value_range: tuple[float, float] | None = None  # of grey images of more than eight bits

    def trial(
        self,
        name: str,
        spec: Spec,
        recipe: Recipe,
        *,
        stage: str,
        test: bool = False,
        attrs: Mapping[str, Any] | None = None,
    ) -> Trial:
        """Describes a training under these conditions."""
        return Trial(
            name=name,
            spec=spec,
            recipe=recipe,
            data=self.fingerprint,
            preprocessing=Preprocessing(
                size=spec.resolution, crop=self.crop, value_range=self.value_range
            ),
            train_images=self.train_images,
            test=test,
            threads=self.threads,
            attrs={"stage": stage, "seed": recipe.seed, **(attrs or {})},
        )

    def to_dict(self, **fields: Any) -> dict[str, Any]:
        """Plain data for plan.json, with `fields` of the plan.

        A first seed of 0 and no range are left out, so that folders from before there were others
        stay valid.
        """
        later: dict[str, Any] = {"seed": self.seed} if self.seed else {}
        if self.value_range:
            later["value_range"] = list(self.value_range)
        return {
            "data": self.data,
            "fingerprint": self.fingerprint,
            "crop": self.crop,
            "train_images": self.train_images,
            "threads": self.threads,
            **fields,
            **later,
            "recipe": self.recipe.to_dict(),
        }
