"""The arms of a scaling study: networks of equal compute, each scaled in its own way.

base                        the network that all others are scaled from
depth, width, resolution    one dimension takes all the compute
compound                    the paper's shares
symmetric                   equal-split baseline: the shares of equal returns from all three
inverse                     the paper's shares of depth and resolution swapped
beyond                      more pixels than the images have: no gain is expected
longer                      the base, trained for the compute of the other arms
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from phiscale.arch.costs import cost, measure_scaling
from phiscale.arch.scaling import STRATEGIES, ScaledNetwork, Scaling, Strategy, scale
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.budget.lattice import pixel_step
from phiscale.search.spaces.rays import INVERSE, TOLERANCE, match_compute, symmetric_scaling
from phiscale.search.study.rule import SINGLES

LONGER, BEYOND = "longer", "beyond"
UNMATCHED = (LONGER, BEYOND)  # arms whose compute differs from the others'
MAX_OFF_RAY = 0.15  # from the requested shares, in logs: an arm does what its name says
RETRY = "Use another `resolution` or `model`."


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A network that takes part, and how long it is trained."""

    name: str
    network: ScaledNetwork
    epochs: float

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data for plan.json."""
        return {
            "name": self.name,
            "spec": self.network.spec.to_dict(),
            "by": asdict(self.network.by),
            "compute": self.network.compute_ratio,
            "epochs": self.epochs,
            "off_ray": self.network.off_ray,
        }


def match_arms(
    base: Spec,
    names: Sequence[str],
    *,
    compute_ratio: float,
    epochs: float,
    native_pixels: int | None = None,
    tolerance: float = TOLERANCE,
) -> tuple[Arm, ...]:
    """Builds the named arms, matched to `compute_ratio` times the base's exact MACs.

    `native_pixels`: those of the images; None allows arms of more pixels and leaves `beyond` out.
    UsageError: no network is within `tolerance`, or an arm would need more pixels than the images
    have.
    """
    arms: list[Arm] = []
    for name in names:
        if name == "base":
            arms.append(Arm(name=name, network=_unscaled(base), epochs=epochs))
        elif name == LONGER:
            arms.append(Arm(name=name, network=_unscaled(base), epochs=epochs * compute_ratio))
        elif name == BEYOND:
            if native_pixels is not None:
                network = _beyond(base, native_pixels)
                arms.append(Arm(name=name, network=network, epochs=epochs))
        else:
            network = _match(name, base, compute_ratio, tolerance)
            _check_pixels(name, network.spec, base, native_pixels)
            arms.append(Arm(name=name, network=network, epochs=epochs))
    return tuple(arms)


def _unscaled(base: Spec) -> ScaledNetwork:
    return ScaledNetwork(spec=base, by=Scaling(), compute_ratio=1.0)


def _beyond(base: Spec, native_pixels: int) -> ScaledNetwork:
    by = Scaling(resolution=1.5 * native_pixels / base.resolution)
    return replace(measure_scaling(scale(base, by), base), by=by)


def _match(name: str, base: Spec, compute_ratio: float, tolerance: float) -> ScaledNetwork:
    rays: dict[str, Strategy | Scaling] = {
        **{each: STRATEGIES[each] for each in (*SINGLES, "compound")},
        "symmetric": symmetric_scaling(compute_ratio),
        "inverse": INVERSE,
    }
    try:
        network = match_compute(
            base, rays[name], compute_ratio * cost(base).macs, tolerance=tolerance
        )
    except UsageError as error:
        raise UsageError(f"arm {name}: {str(error).partition('. Use ')[0]}. {RETRY}") from None
    if network.off_ray > MAX_OFF_RAY:
        by = network.by
        raise UsageError(
            f"arm {name} would be depth x{by.depth:.2f}, width x{by.width:.2f}, resolution "
            f"x{by.resolution:.2f}: no network nearer to its shares has {compute_ratio:g} times "
            f"the base's MACs. {RETRY}"
        )
    return network


def _check_pixels(name: str, spec: Spec, base: Spec, native_pixels: int | None) -> None:
    if native_pixels is None or spec.resolution <= native_pixels:
        return
    step = pixel_step(native_pixels)
    fits = min(native_pixels // 2, int(base.resolution * native_pixels / spec.resolution))
    raise UsageError(
        f"arm {name} needs {spec.resolution} px, the images have {native_pixels}. "
        f"Use resolution={max(step, fits // step * step)} or less."
    )
