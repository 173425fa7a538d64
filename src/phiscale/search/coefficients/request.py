"""What a search for coefficients is asked to do, and the plan that follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.files.values import check_at_least, check_trains
from phiscale.planning.device import DeviceModel
from phiscale.search.coefficients.law import Method
from phiscale.search.coefficients.plan import CoefficientSearch
from phiscale.search.engine.folder import DatasetInfo
from phiscale.search.engine.trial import TrialConditions
from phiscale.search.spaces.lattice import COSTS, cost_metric
from phiscale.search.study.plan import RECIPE
from phiscale.search.study.request import choose_base_pixels, choose_crop
from phiscale.search.tuning import Tuning
from phiscale.training.recipes.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """The settings of a search for coefficients.

    UsageError: a setting is out of range, or latency is to double and no device model says what it
    is.
    """

    methods: tuple[Method, ...] = ("lawscale",)
    units: float = 14.0  # compute that a method may spend, in trainings of the base
    compute: float = 2.0  # where the coefficients are wanted: times the base's cost
    cost: str = "macs"  # the cost metric that is to double
    device: DeviceModel | None = None
    resolution: int | None = None  # of the base, in pixels; None: half of what the images have
    epochs: float = 6.0  # of every training
    train_images: int | None = None  # per epoch; None: all
    seeds: int = 3  # of the confirmation; 0: confirmed later
    recipe: Recipe = RECIPE
    tuning: Tuning = field(default_factory=Tuning)
    threads: int = 1  # of torch
    seed: int = 0  # the first of the confirmation

    def __post_init__(self) -> None:
        check_at_least(1, resolution=self.resolution, train_images=self.train_images)
        check_at_least(0, seed=self.seed)
        check_trains(epochs=self.epochs)
        if self.cost not in COSTS:
            raise UsageError(f"cost={self.cost!r} is unknown. Use one of {', '.join(COSTS)}.")
        cost_metric(self.cost, self.device)  # raises where a device model is missing
        if not (0.05 <= self.compute <= 64) or abs(math.log(self.compute)) < 0.05:
            raise UsageError(f"compute={self.compute:g} scales nothing. Use 2, or 0.5 to shrink.")
        if not 4 <= self.units < math.inf:
            raise UsageError(
                f"units={self.units:g} is too little compute for a law. Use 4 or more, better 7."
            )
        if self.seeds not in (0, *range(2, 1000)):
            raise UsageError(
                f"seeds={self.seeds} has no spread. Use 3 or more, or 0 to confirm later."
            )


def images_per_epoch(dataset: DatasetInfo, request: SearchRequest) -> int:
    """Counts the images that an epoch of the search has."""
    return dataset.limit(request.train_images) or dataset.train


def plan_search(
    base: Spec, data: str, request: SearchRequest, dataset: DatasetInfo
) -> CoefficientSearch:
    """Turns a request into a plan on these images. UsageError: they have too few pixels."""
    native = dataset.native_pixels
    pixels = request.resolution or choose_base_pixels(base, native)
    if pixels > native and request.resolution:
        raise UsageError(
            f"resolution={pixels} is more than the images' {native} pixels. "
            f"Use resolution={choose_base_pixels(base, native)}, so that larger networks see real "
            "pixels."
        )
    return CoefficientSearch(
        conditions=TrialConditions(
            data=data,
            fingerprint=dataset.fingerprint,
            value_range=dataset.value_range,
            recipe=replace(request.recipe, epochs=request.epochs),
            crop=choose_crop(dataset),
            train_images=dataset.limit(request.train_images),
            threads=request.threads,
            seed=request.seed,
        ),
        base=replace(base, classes=len(dataset.classes), resolution=pixels),
        methods=request.methods,
        units=request.units,
        compute=request.compute,
        cost=request.cost,
        device=request.device,
        native_pixels=native,
        validation_images=dataset.validation,
        seeds=request.seeds,
        tuning=request.tuning,
    )
