"""Tables of trained networks and their errors, before the axes of a law are selected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from phiscale.arch.costs import cost
from phiscale.arch.scaling import effective
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.laws.law import IMAGES_UNIT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from phiscale.planning.laws.points import Points

DIMENSIONS = ("depth", "width", "resolution")
COUNTED = ("macs", "params", "activations")  # exactly, from a spec
COLLINEAR = 0.98  # of one dimension's variance that the others explain: the rows are one ray


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """One trained network, or the mean of `runs` equal trainings."""

    name: str
    error: float  # fraction
    runs: float = 1.0
    spec: Spec | None = None
    values: Mapping[str, float] = field(default_factory=dict[str, float])
    """Columns that may be axes."""

    @property
    def macs(self) -> float:
        """Returns MACs from the table, else counted from the spec, else d w^2 r^2."""
        if macs := self.values.get("macs"):
            return macs
        if self.spec is not None:
            return cost(self.spec).macs
        d, w, r = (self.values.get(axis, 1.0) for axis in DIMENSIONS)
        return d * w**2 * r**2


@dataclass(frozen=True, kw_only=True)
class Axes:
    """How networks are placed on axes: multipliers over the base, and amounts over units."""

    names: tuple[str, ...]
    base: Spec | None = None
    units: Mapping[str, float] = field(default_factory=dict[str, float])  # 1 on that axis

    def position(self, name: str, spec: Spec | None, values: Mapping[str, float]) -> list[float]:
        """Returns where a network is on each axis. UsageError: an axis has no value."""
        position: list[float] = []
        for axis in self.names:
            column = "images_seen" if axis == "images" else axis
            if column in values:
                amount = values[column]
            elif axis in COUNTED and spec is not None:
                amount = float(getattr(cost(spec), axis))
            elif axis in DIMENSIONS and spec is not None and self.base is not None:
                amount = getattr(effective(spec, self.base), axis)
            else:
                raise UsageError(f"{name} has no {column}. {self._advice(axis, column)}")
            position.append(amount / self.units.get(axis, 1.0))
        return position

    @staticmethod
    def _advice(axis: str, column: str) -> str:
        if axis in DIMENSIONS:
            return f"Add a column {column}, or a column model and the argument `base`."
        return f"Add a column {column}{' or model' if axis in COUNTED else ''}."


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The rows of a table, and the comments that hold for all of them."""

    source: str
    rows: tuple[TrainedNetwork, ...]
    axes: tuple[str, ...] = ()  # as the table names them, if it does
    run_sd: float | None = None  # seed standard deviation of an error, if the table has one

    def base(self) -> TrainedNetwork:
        """Returns the network that costs least: the default base of multipliers."""
        return min(self.rows, key=lambda row: row.macs)

    def choose_axes(self, base: Spec | None = None) -> tuple[str, ...]:
        """Returns the axes of the table, else those that its rows determine.

        Depth, width and resolution if they vary apart from each other, else MACs; and images seen
        if they differ.
        """
        if self.axes:
            return self.axes
        seen = {row.values.get("images_seen") for row in self.rows}
        images = ("images",) if len(seen) > 1 and None not in seen else ()
        try:
            points = self.points(self.axes_over(DIMENSIONS, base))
        except UsageError:
            return ("macs", *images)
        return (*DIMENSIONS, *images) if _vary_apart(points) else ("macs", *images)

    def axes_over(self, names: Sequence[str], base: Spec | None = None) -> Axes:
        """Returns these axes over a base, or over the row that costs least."""
        first = self.base()
        of_base = base or first.spec
        amounts = [axis for axis in names if axis not in DIMENSIONS]
        values: Mapping[str, float] = {} if base is not None else first.values
        units = {
            axis: IMAGES_UNIT
            if axis == "images"
            else Axes(names=(axis,)).position(first.name, of_base, values)[0]
            for axis in amounts
            if base is None or axis in COUNTED or axis == "images"
        }
        return Axes(names=tuple(names), base=of_base, units=units)

    def points(self, axes: Axes) -> Points:
        """Returns the rows on these axes. UsageError: a row has no value on one."""
        import numpy as np

        from phiscale.planning.laws.points import Points

        x = [axes.position(row.name, row.spec, row.values) for row in self.rows]
        return Points(
            axes.names,
            np.array(x, dtype=float),
            np.array([row.error for row in self.rows]),
            np.array([row.runs for row in self.rows]),
            tuple(row.name for row in self.rows),
        )


def _vary_apart(points: Points) -> bool:
    """Tells whether each axis varies apart from the others, not along one ray."""
    import numpy as np

    logs = np.log(points.x)
    logs = logs - logs.mean(0)
    if len(points) < 4 or points.constant():
        return False
    for number in range(logs.shape[1]):
        others: NDArray[np.float64] = np.delete(logs, number, axis=1)
        column = logs[:, number]
        slopes = cast("NDArray[np.float64]", np.linalg.lstsq(others, column, rcond=None)[0])
        residual = column - others @ slopes
        if residual @ residual < (1 - COLLINEAR) * column @ column:
            return False
    return True
