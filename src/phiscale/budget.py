"""From a budget to networks: every scaling of a base is counted, limits are exact, a law predicts.

solve(spec, Budget(macs=400e6))   the lattice of all scalings of `spec`
weigh(spec, budget, over=base)    one network that exists already, such as a pretrained member
solve(..., beside=[...]), rank    both kinds by the same rules
finalists, explain                what a race may still decide, and why the best one won
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations
from typing import Any

from phiscale.costs import Cost, cost, cost_grid
from phiscale.device import DeviceModel
from phiscale.errors import BudgetError, UsageError
from phiscale.laws import ErrorLaw, default_law, published_law
from phiscale.scaling import Scaling
from phiscale.spec import Spec

MIN_EPOCHS, MIN_EPOCHS_PRETRAINED = 4, 2  # fewer teach too little to be worth the time
MAX_EPOCHS = 350  # as the published networks had
HEAD_START_IMAGES = 450_000_000  # what a network trained on ImageNet has seen: 350 x 1.28 million
LATTICE_SIZE = 500_000
INDIFFERENT = 0.001  # of error: 0.1 point
CLEARLY_DIFFERENT = math.log(1.2)  # by a fifth in depth, width or resolution
PARETO_SHOWN = 20

_FLAGS = {"macs": "--macs", "params": "--params", "latency_ms": "--latency-ms",
          "weight_bytes": "--weight-bytes", "train_memory_bytes": "--train-memory",
          "train_minutes": "--train-minutes"}  # fmt: skip
_COUNTS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Upper limits, each of them kept exactly; None = no limit."""

    macs: float | None = None
    params: float | None = None
    latency_ms: float | None = None  # one image, by the device model
    weight_bytes: float | None = None  # fp32
    train_memory_bytes: float | None = None  # fp32, of a batch
    train_minutes: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.limits.items():
            if isinstance(value, bool) or not (math.isfinite(value) and value > 0):
                raise UsageError(
                    f"{_FLAGS[name]} {value} is no limit. Use a number above 0, or leave it out."
                )
            if value < 1 and name not in ("latency_ms", "train_minutes"):
                raise UsageError(
                    f"{_FLAGS[name]} {value:g} is less than one. Counts are in units: "
                    "write 400M or 1.8G, and 20MB for bytes."
                )

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if value is not None}


def parse_count(text: str) -> int:
    """400M, 1.8G (or 1.8B, as papers write); a bare number is units."""
    return _parse(text, _COUNTS, "count", "400M or 1.8G")


def parse_bytes(text: str) -> int:
    """20MB = 20 * 10^6, 20MiB = 20 * 2^20; a bare number is bytes."""
    return _parse(text, _BYTES, "size", "20MB (10^6) or 20MiB (2^20)")


def _parse(text: str, units: Mapping[str, int], what: str, example: str) -> int:
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*([A-Za-z]*)\s*", text)
    unit = units.get(found[3].upper()) if found else None
    if found is None or unit is None:
        raise UsageError(f"{text!r} is no {what}. Write {example}.")
    value = float(found[1] + (found[2] or "")) * unit
    if not 1 <= value < 2**63:
        raise UsageError(f"{text!r} is no {what} of 1 or more. Write {example}.")
    return round(value)


@dataclass(frozen=True)
class Limit:
    """What one network takes of one limit. Of training minutes: what its fewest epochs take."""

    name: str
    value: float
    allowed: float

    @property
    def met(self) -> bool:
        return self.value <= self.allowed

    def __str__(self) -> str:
        for digits in (3, 6, 12):  # 400M > 400M would say nothing
            taken, allowed = (_typed(self.name, n, digits) for n in (self.value, self.allowed))
            if taken != allowed:
                break
        return f"{self.name} {taken} > {allowed}"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One network with all that speaks for and against it."""

    name: str
    spec: Spec
    depth: float  # real multipliers over the base: blocks, channels, pixels
    width: float
    resolution: float
    cost: Cost
    error: float  # predicted, a fraction; far below the base a mere rank that may exceed 1
    limits: tuple[Limit, ...] = ()
    latency_ms: float | None = None
    train_images_per_s: float | None = None
    images_seen: int | None = None  # in this training
    epochs: float | None = None
    pretrained: str | None = None  # where its weights come from
    head_start: int = 0  # images that the law counts besides, for a pretrained network

    @property
    def ruled_out(self) -> str | None:
        """Which limits it breaks, in words; None = it fits."""
        return ", ".join(str(limit) for limit in self.limits if not limit.met) or None

    def to_dict(self) -> dict[str, Any]:
        """The numbers of a table's row."""
        return {
            "name": self.name, "depth": self.depth, "width": self.width,
            "resolution": self.resolution, "pixels": self.spec.resolution, "error": self.error,
            "macs": self.cost.macs, "params": self.cost.params,
            "weight_bytes": self.cost.weight_bytes, "latency_ms": self.latency_ms,
            "train_images_per_s": self.train_images_per_s, "images_seen": self.images_seen,
            "epochs": self.epochs, "pretrained": self.pretrained, "ruled_out": self.ruled_out,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Solution:
    """The best network, those that trade its error for less cost, and how clear the choice is."""

    best: Candidate
    pareto: tuple[Candidate, ...]  # none beaten in error and cost at once; best first, thinned
    pareto_total: int  # before thinning
    rivals: tuple[Candidate, ...]  # clearly different, within `sd` of the best; best first
    considered: int
    fitting: int
    ruled_out: dict[str, int]  # limit -> networks over it; one network may be over several
    indifferent: int  # others within 0.1 point of the best
    sd: float  # of the law


def effective(spec: Spec, over: Spec, native_pixels: int | None = None) -> Scaling:
    """The multipliers of `spec` over another network, as an error law counts them.

    Blocks; channels as the root of the ratio of their summed squares over the blocks of `over` (or
    over stages, where the two have a different number of them); pixels that the images have.
    """
    most = native_pixels or max(spec.resolution, over.resolution)
    return Scaling(
        depth=spec.blocks / over.blocks,
        width=_width(spec, over),
        resolution=min(spec.resolution, most) / min(over.resolution, most),
    )


def _width(spec: Spec, over: Spec) -> float:
    if len(spec.stages) == len(over.stages):
        pairs = zip(spec.stages, over.stages, strict=True)
        squares = sum(base.repeats * stage.channels**2 for stage, base in pairs)
        return math.sqrt(squares / sum(s.repeats * s.channels**2 for s in over.stages))

    def mean_square(of: Spec) -> float:
        return sum(stage.channels**2 for stage in of.stages) / len(of.stages)

    return math.sqrt(mean_square(spec) / mean_square(over))


def solve(
    spec: Spec,
    budget: Budget | None = None,
    *,
    name: str = "this network",
    law: ErrorLaw | None = None,
    device: DeviceModel | None = None,
    train_images: int | None = None,
    native_pixels: int | None = None,
    batch: int | None = None,
    depths: Sequence[float] | None = None,
    widths: Sequence[float] | None = None,
    resolutions: Sequence[int] | None = None,
    min_epochs: float = MIN_EPOCHS,
    max_epochs: float = MAX_EPOCHS,
    over: Spec | None = None,
    beside: Iterable[Candidate] = (),
) -> Solution:
    """The scaling of `spec` with the least predicted error within `budget`.

    `law`: the published one, with its images term as soon as `train_images` are known.
    `train_images`: of one epoch; then training lasts `max_epochs` or what `train_minutes` allow.
    `native_pixels`: of the images; more than that are not tried and predict no gain.
    `batch`: of training memory; the device model's, else 64.
    `depths`, `widths`, `resolutions`: the lattice, instead of the default one.
    `over`: the network that multipliers are counted over; `spec` itself.
    `beside`: candidates of `weigh`, which compete under the same rules.
    """
    import numpy as np

    plan = _plan(budget, law, device, train_images, native_pixels, batch, min_epochs, max_epochs,
                 over or spec)  # fmt: skip
    if depths is None:
        depths = lattice_depths(spec)
    if resolutions is None:
        resolutions = lattice_resolutions(spec, native_pixels)
    if widths is None:
        widths = lattice_widths(LATTICE_SIZE // max(1, len(depths) * len(resolutions)))
    grid = cost_grid(spec, depths, widths, resolutions)
    by = (
        np.array([effective(each, plan.over).depth for each in grid.depths])[:, None, None],
        np.array([effective(each, plan.over).width for each in grid.widths])[None, :, None],
        np.array([effective(replace(spec, resolution=pixels), plan.over, native_pixels).resolution
                  for pixels in grid.resolutions])[None, None, :],
    )  # fmt: skip
    figures = plan.figures(grid.cost, *by)

    def flat(values: Any) -> Any:
        return np.broadcast_to(np.asarray(values, dtype=float), grid.shape).ravel()

    def make(index: int) -> Candidate:
        network = grid.spec(tuple(int(i) for i in np.unravel_index(index, grid.shape)))
        return plan.candidate(network, effective(network, plan.over, native_pixels))

    lattice = _Pool(
        error=flat(figures.error),
        costs=[flat(each) for each in (grid.cost.macs, grid.cost.params)],
        latency=None if figures.latency_ms is None else flat(figures.latency_ms),
        place=np.log(np.stack([flat(each) for each in by])),
        values={limit: flat(values) for limit, values in figures.values.items()},
        make=make,
    )
    return _choose([lattice, *_explicit(beside, plan.budget.limits)], plan.budget.limits,
                   plan.law.sd, f"scaling of {name}")  # fmt: skip


def weigh(
    spec: Spec,
    budget: Budget | None = None,
    *,
    over: Spec,
    name: str | None = None,
    pretrained: str | None = None,
    head_start: int | None = None,
    images_per_s: float | None = None,
    law: ErrorLaw | None = None,
    device: DeviceModel | None = None,
    train_images: int | None = None,
    native_pixels: int | None = None,
    batch: int | None = None,
    min_epochs: float | None = None,
    max_epochs: float = MAX_EPOCHS,
) -> Candidate:
    """One given network under the same rules as `solve`: what it costs, and what rules it out.

    `over`: the network whose multiples the law counts. `pretrained`: where its weights come from;
    the law then counts `head_start` more images and fewer epochs are enough.
    `images_per_s`: measured training speed, instead of the device model's.
    """
    if min_epochs is None:
        min_epochs = MIN_EPOCHS_PRETRAINED if pretrained else MIN_EPOCHS
    plan = _plan(budget, law, device, train_images, native_pixels, batch, min_epochs, max_epochs,
                 over, images_per_s)  # fmt: skip
    if head_start is None:
        head_start = HEAD_START_IMAGES if pretrained else 0
    found = plan.candidate(spec, effective(spec, over, native_pixels), head_start)
    return replace(found, name=name or found.name, pretrained=pretrained)


def rank(candidates: Iterable[Candidate], *, sd: float) -> Solution:
    """`solve`'s choice among given networks; `sd` is that of the law that weighed them."""
    given = list(candidates)
    if not given:
        raise UsageError("there is no network to choose from. Name at least one candidate.")
    allowed = _allowed(given[0])
    return _choose(_explicit(given, allowed), allowed, sd, "candidate")


def finalists(solution: Solution, limit: int = 3) -> tuple[Candidate, ...]:
    """The best and the clearly different networks that the law cannot tell from it: for a race."""
    return (solution.best, *solution.rivals)[:limit]


def explain(solution: Solution) -> str:
    """Why that one, in a line or two."""
    best, sd = solution.best, f"{100 * solution.sd:.1f}"
    costs = [_quantity("macs", best.cost.macs), _quantity("params", best.cost.params)]
    if best.latency_ms is not None:
        costs.append(_quantity("latency_ms", best.latency_ms))
    if best.epochs is not None:
        costs.append(f"{best.epochs:.3g} epochs")
    text = (
        f"{best.name}: the least predicted error, {_percent(best.error)} ± {sd} points, of "
        f"{solution.fitting:,} networks that fit ({', '.join(costs)})."
    )
    if over := [f"{limit} {count:,}" for limit, count in solution.ruled_out.items() if count]:
        text += f" Of {solution.considered:,}, ruled out by {', '.join(over)}."
    if solution.indifferent:
        text += f" Others within 0.1 point: {solution.indifferent:,}."
    if rivals := [rival.name for rival in finalists(solution)[1:]]:
        text += f" The law cannot tell it from {' or '.join(rivals)}: a race can."
    return text


# The lattice: where rounding changes the network, as far as a base can sensibly be scaled.


def lattice_depths(
    spec: Spec, least: float = 0.25, most: float = 4.0, count: int = 40
) -> list[float]:
    """One multiplier for every different vector of repeats, thinned to at most `count` of them."""
    half = 0.5 if spec.depth_rounding == "round" else 0.0
    steps = {1.0, least} | {
        (repeats - half) / stage.repeats + (1e-9 if half else 0)
        for stage in spec.stages
        for repeats in range(1, math.ceil(most * stage.repeats) + 1)
    }
    inside = sorted(step for step in steps if least <= step <= most)
    return sorted({1.0, *_evenly(inside, count - 1)})


def lattice_widths(count: int, least: float = 0.25, most: float = 2.5) -> list[float]:
    """About `count` multipliers in equal steps that meet 1: they round to different channels."""
    below = min(150, max(30, round(count * (1 - least) / (most - least))))
    step = (1 - least) / below
    return [round(least + step * i, 9) for i in range(round((most - least) / step) + 1)]


def lattice_resolutions(spec: Spec, native_pixels: int | None = None) -> list[int]:
    """Multiples of 8 (4 for bases of at most 64 px), from a last map of 2x2 to 2.7 times the base.

    Not above what the images have, unless that leaves less than the smallest of them.
    """
    step = 8 if spec.resolution > 64 else 4
    least = -(-2 * spec.reduction // step) * step
    most = int(2.7 * spec.resolution)
    if native_pixels is not None:
        most = min(most, max(native_pixels, least))
    base = {spec.resolution} if spec.resolution <= most or most < least else set[int]()
    return sorted(base | set(range(least, most + 1, step)))


def _evenly(values: Sequence[float], count: int) -> list[float]:
    if len(values) <= count:
        return list(values)
    return [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]


# What a network takes and what it is worth: one network or the whole lattice.


@dataclass(frozen=True)
class _Figures:
    error: Any
    latency_ms: Any | None
    images_per_s: Any | None
    images_seen: Any | None
    values: dict[str, Any]  # by limit


@dataclass(frozen=True, kw_only=True)
class _Plan:
    budget: Budget
    law: ErrorLaw
    device: DeviceModel | None
    train_images: int | None
    native_pixels: int | None
    batch: int
    min_epochs: float
    max_epochs: float
    over: Spec
    images_per_s: float | None

    def figures(
        self, cost: Cost, depth: Any, width: Any, resolution: Any, head_start: int = 0
    ) -> _Figures:
        minutes, device = self.budget.train_minutes, self.device
        latency = device.latency_ms(cost) if device and device.latency else None
        speed, seen = self.images_per_s, None
        if speed is None and device and device.training:
            speed = device.train_images_per_s(cost)
        if self.train_images is not None:
            seen = self.max_epochs * self.train_images
            if minutes is not None and speed is not None:
                seen = _at_most(seen, speed * minutes * 60)
        counted = None if seen is None else seen + head_start
        per_s = math.inf if speed is None else speed  # a limit of minutes comes with a speed
        taken: dict[str, Callable[[], Any]] = {
            "macs": lambda: cost.macs,
            "params": lambda: cost.params,
            "latency_ms": lambda: latency,
            "weight_bytes": lambda: cost.weight_bytes,
            "train_memory_bytes": lambda: cost.train_bytes(self.batch),
            "train_minutes": lambda: self.min_epochs * (self.train_images or 0) / per_s / 60,
        }
        return _Figures(
            error=self.law.error(depth=depth, width=width, resolution=resolution, images=counted),
            latency_ms=latency,
            images_per_s=speed,
            images_seen=seen,
            values={limit: taken[limit]() for limit in self.budget.limits},
        )

    def candidate(self, spec: Spec, by: Scaling, head_start: int = 0) -> Candidate:
        counted = replace(cost(spec), layers=())
        found = self.figures(counted, by.depth, by.width, by.resolution, head_start)
        seen = found.images_seen
        return Candidate(
            name=f"depth x{by.depth:.2f}, width x{by.width:.2f}, {spec.resolution} px",
            spec=spec,
            depth=by.depth,
            width=by.width,
            resolution=by.resolution,
            cost=counted,
            error=float(found.error),
            limits=tuple(Limit(limit, float(found.values[limit]), allowed)
                         for limit, allowed in self.budget.limits.items()),
            latency_ms=None if found.latency_ms is None else float(found.latency_ms),
            train_images_per_s=None if found.images_per_s is None else float(found.images_per_s),
            images_seen=None if seen is None else int(seen),
            epochs=None if seen is None else float(seen) / (self.train_images or 1),
            head_start=head_start,
        )  # fmt: skip


def _plan(
    budget: Budget | None, law: ErrorLaw | None, device: DeviceModel | None,
    train_images: int | None, native_pixels: int | None, batch: int | None, min_epochs: float,
    max_epochs: float, over: Spec, images_per_s: float | None = None,
) -> _Plan:  # fmt: skip
    budget = budget or Budget()
    for name, value in (("train_images", train_images), ("native_pixels", native_pixels),
                        ("batch", batch), ("min_epochs", min_epochs), ("max_epochs", max_epochs),
                        ("images_per_s", images_per_s)):  # fmt: skip
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UsageError(f"{name}={value} is not above 0. Use 1 or more.")
    if min_epochs > max_epochs:
        raise UsageError(
            f"min_epochs={min_epochs:g} is more than max_epochs={max_epochs:g}. "
            "Lower the one or raise the other."
        )
    if budget.latency_ms is not None and not (device and device.latency):
        raise UsageError(
            "--latency-ms needs a model of the device. Make one with "
            "phiscale calibrate --out device.json, "
            "then give it: --device-model device.json."
        )
    if budget.train_minutes is not None:
        if images_per_s is None and not (device and device.training):
            raise UsageError(
                "--train-minutes needs the training speed of the device. "
                "Measure it with phiscale calibrate --out device.json, then give it: "
                "--device-model device.json."
            )
        if train_images is None:
            raise UsageError(
                "--train-minutes needs the number of training images. Give train_images."
            )
    if law is None:
        law = published_law() if train_images is None else default_law()
    return _Plan(budget=budget, law=law, device=device, train_images=train_images,
                 native_pixels=native_pixels, min_epochs=min_epochs, max_epochs=max_epochs,
                 batch=batch or (device and device.training_batch) or 64,
                 over=over, images_per_s=images_per_s)  # fmt: skip


def _at_most(most: float, value: Any) -> Any:
    if isinstance(value, int | float):
        return min(most, value)
    import numpy as np

    return np.minimum(most, value)


# The choice, on arrays: a pool is the lattice or the given candidates.


@dataclass(frozen=True, kw_only=True)
class _Pool:
    error: Any
    costs: list[Any]  # macs, params
    latency: Any | None
    place: Any  # logs of depth, width, resolution: (3, networks)
    values: dict[str, Any]  # by limit
    make: Callable[[int], Candidate]
    pretrained: Any = 0


def _allowed(candidate: Candidate) -> dict[str, float]:
    return {limit.name: limit.allowed for limit in candidate.limits}


def _explicit(candidates: Iterable[Candidate], limits: Mapping[str, float]) -> list[_Pool]:
    import numpy as np

    given = list(candidates)
    if not given:
        return []
    for each in given:
        if _allowed(each) != limits:
            raise UsageError(
                f"{each.name} was weighed for {_allowed(each) or 'no limits'}, not for "
                f"{dict(limits) or 'no limits'}. Weigh all networks for one budget."
            )
    latencies = [each.latency_ms for each in given]
    return [_Pool(
        error=np.array([each.error for each in given]),
        costs=[np.array([getattr(each.cost, name) for each in given], dtype=float)
               for name in ("macs", "params")],
        latency=None if None in latencies else np.array(latencies, dtype=float),
        place=np.log([[getattr(each, name) for each in given]
                      for name in ("depth", "width", "resolution")]),
        values={name: np.array([limit.value for each in given for limit in each.limits
                                if limit.name == name]) for name in limits},
        make=given.__getitem__,
        pretrained=np.array([each.pretrained is not None for each in given]),
    )]  # fmt: skip


def _choose(pools: Sequence[_Pool], limits: Mapping[str, float], sd: float, of: str) -> Solution:
    import numpy as np

    starts = np.cumsum([0, *(len(pool.error) for pool in pools)])

    def make(index: int) -> Candidate:
        number = int(np.searchsorted(starts, index, side="right")) - 1
        return pools[number].make(int(index - starts[number]))

    values = {limit: np.concatenate([pool.values[limit] for pool in pools]) for limit in limits}
    over = {limit: taken > limits[limit] for limit, taken in values.items()}
    fits = ~np.logical_or.reduce([np.zeros(starts[-1], dtype=bool), *over.values()])
    if not fits.any():
        raise BudgetError(_infeasible(values, limits, make, of))
    chosen = fits.nonzero()[0]
    error = np.concatenate([pool.error for pool in pools])[chosen]
    macs, params = (np.concatenate([pool.costs[i] for pool in pools])[chosen] for i in (0, 1))
    latencies = [pool.latency for pool in pools if pool.latency is not None]
    timed = [np.concatenate(latencies)[chosen]] if len(latencies) == len(pools) else []
    place = np.concatenate([pool.place for pool in pools], axis=1)[:, chosen]
    pretrained = np.concatenate(
        [np.broadcast_to(pool.pretrained, pool.error.shape) for pool in pools]
    )[chosen]

    def least(among: Any) -> int:
        """Of these, the one with the least error; then the fewest MACs, then parameters."""
        equal = among[error[among] == error[among].min()]
        return int(equal[np.lexsort((params[equal], macs[equal]))[0]])

    best = least(np.arange(len(error)))
    rivals: list[int] = []
    rest = (error <= error[best] + sd).nonzero()[0]
    while len(rivals) < 4:
        last = rivals[-1] if rivals else best
        far = np.abs(place[:, rest] - place[:, last, None]).max(axis=0) > CLEARLY_DIFFERENT
        rest = rest[far | (pretrained[rest] != pretrained[last])]
        if not len(rest):
            break
        rivals.append(least(rest))
    front = undominated(np.stack([error, macs, params, *timed], axis=1))
    shown = _thinned(front, timed[0] if timed and "latency_ms" in limits else macs)
    return Solution(
        best=make(chosen[best]),
        pareto=tuple(make(chosen[index]) for index in shown),
        pareto_total=len(front),
        rivals=tuple(make(chosen[index]) for index in rivals),
        considered=int(starts[-1]),
        fitting=len(chosen),
        ruled_out={limit: int(broken.sum()) for limit, broken in over.items()},
        indifferent=int((error <= error[best] + INDIFFERENT).sum()) - 1,
        sd=sd,
    )


def _thinned(front: Any, axis: Any) -> list[int]:
    """At most `PARETO_SHOWN`, best first: the least error in each equal step of the log cost."""
    import numpy as np

    if len(front) <= PARETO_SHOWN:
        return [int(index) for index in front]
    logs = np.log(axis[front])
    steps = np.clip((logs - logs.min()) / (np.ptp(logs) or 1) * PARETO_SHOWN, 0, PARETO_SHOWN - 1)
    _, first = np.unique(steps.astype(int), return_index=True)  # the front is sorted by error
    return [int(front[index]) for index in sorted({0, *first})][:PARETO_SHOWN]


def undominated(points: Any) -> Any:
    """Indices of the rows that no other row equals or betters in every column, sorted by the first.

    Of equal rows one stays. Kung's divide and conquer: exact, seconds for half a million rows.
    """
    import numpy as np

    order = np.lexsort(points.T[::-1])
    points = points[order]
    if len(points) > 20_000:  # a sample's front beats most of the others
        sample = np.arange(0, len(points), 20)
        sample = sample[_front(points[sample])]
        stay = ~_beaten(points, points[sample])
        stay[sample] = True
        order, points = order[stay], points[stay]
    return order[_front(points)]


def _front(points: Any) -> Any:
    """The same for rows in lexicographic order, where only earlier ones can beat later ones."""
    import numpy as np

    if len(points) <= 64:
        better = (points[:, None, :] <= points[None, :, :]).all(axis=2)
        return (~np.triu(better, 1).any(axis=0)).nonzero()[0]
    half = len(points) // 2
    top, bottom = _front(points[:half]), half + _front(points[half:])
    return np.concatenate([top, bottom[~_beaten(points[bottom, 1:], points[top, 1:])]])


def _beaten(points: Any, others: Any) -> Any:
    """For each of `points`: is one of `others` at most as large in every column?"""
    import numpy as np

    beaten = np.zeros(len(points), dtype=bool)
    if not len(points) or not len(others):
        return beaten
    first = others[:, 0]
    if points.shape[1] == 1:
        return points[:, 0] >= first.min()
    if points.shape[1] == 2:
        order = np.argsort(first)
        least = np.minimum.accumulate(others[order, 1])
        ordered, wanted = np.asarray(first)[order], np.asarray(points)[:, 0]
        at = np.searchsorted(ordered, wanted, side="right") - 1
        return np.logical_and(at >= 0, least[at] <= points[:, 1])
    if len(points) * len(others) <= 8192:
        return (others[None] <= points[:, None]).all(axis=2).any(axis=1)
    low = first <= np.median(first)
    if low.all():
        low = first < first.max()
    if low.any():
        beyond = points[:, 0] >= first[~low].min()
        beaten[~beyond] = _beaten(points[~beyond], others[low])
        left = beyond.nonzero()[0]
        beaten[left] = _beaten(points[left, 1:], others[low][:, 1:])
        left = left[~beaten[left]]
        beaten[left] = _beaten(points[left], others[~low])
    else:  # all equal in this column
        left = (points[:, 0] >= first[0]).nonzero()[0]
        beaten[left] = _beaten(points[left, 1:], others[:, 1:])
    return beaten


# Words


def _infeasible(
    values: Mapping[str, Any],
    limits: Mapping[str, float],
    make: Callable[[int], Candidate],
    of: str,
) -> str:
    import numpy as np

    culprits = next(
        names
        for size in range(1, len(limits) + 1)
        for names in combinations(limits, size)
        if np.logical_or.reduce([values[each] > limits[each] for each in names]).all()
    )
    excess = np.max([values[each] / limits[each] for each in limits], axis=0)
    nearest = make(int(excess.argmin()))
    broken = [limit for limit in nearest.limits if not limit.met]
    wanted = " and ".join(f"{each} <= {_typed(each, limits[each])}" for each in culprits)
    takes = " and ".join(_quantity(limit.name, limit.value) for limit in broken)
    if any(limit.name == "train_minutes" for limit in broken):
        takes += " for the fewest epochs worth it"
    raised = " and ".join(f"{_FLAGS[each.name]} to {_enough(each)}" for each in broken)
    together = " together" if len(culprits) > 1 else ""
    kind = "smallest" if len(broken) == 1 else "nearest"
    return (
        f"no {of} has {wanted}{together}: the {kind} network takes {takes} ({nearest.name}). "
        f"Raise {raised}."
    )


def _percent(error: float) -> str:
    return f"{100 * error:.1f} %" if error < 0.99 else "over 99 %"


def _scaled(value: float, units: Sequence[tuple[str, float]]) -> tuple[float, str]:
    unit = next(((name, size) for name, size in units if value >= size), units[-1])
    return value / unit[1], unit[0]


def _units(limit: str) -> list[tuple[str, float]]:
    """The units that the command line takes, largest first."""
    if limit in ("macs", "params"):
        return [("G", 1e9), ("M", 1e6), ("K", 1e3), ("", 1)]
    if limit in ("weight_bytes", "train_memory_bytes"):
        return [("GB", 1e9), ("MB", 1e6), ("KB", 1e3), ("B", 1)]
    return [("", 1)]


def _typed(limit: str, value: float, digits: int = 3) -> str:
    """As one types it: 1.83G, 20MB, 0.08."""
    number, unit = _scaled(value, _units(limit))
    return f"{number:.0f}{unit}" if number >= 1000 else f"{number:.{digits}g}{unit}"


def _enough(limit: Limit) -> str:
    """The least round number that the network would fit in, as one types it."""
    number, unit = _scaled(limit.value, _units(limit.name))
    step = 10.0 ** (math.floor(math.log10(number)) - 1)
    return f"{math.ceil(number / step) * step:g}{unit}"


def _quantity(limit: str, value: float) -> str:
    nouns = {"macs": "MACs", "params": "params", "latency_ms": "ms", "weight_bytes": "of weights",
             "train_memory_bytes": "of training memory", "train_minutes": "minutes"}  # fmt: skip
    return f"{_typed(limit, value)} {nouns[limit]}"
