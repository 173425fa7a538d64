"""`law.json`, as `phiscale law fit --out` writes it.

`solve` and `fit` take it as their law if its axes are depth, width and resolution. Its "fit" holds
the rows that the numbers came from, so that `phiscale law predict` has intervals. The posterior is
fitted again from the rows, which takes milliseconds, so the file does not hold it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from phiscale.arch.spec import Spec
from phiscale.errors import PhiscaleError, UsageError
from phiscale.files import Format, read_json, verify_checksum, with_checksum, write_json
from phiscale.planning.laws.checks import Checks
from phiscale.planning.laws.law import FORMAT, require_run_sd
from phiscale.planning.laws.points import Points, require_fittable
from phiscale.planning.laws.posterior import Posterior, posterior
from phiscale.planning.laws.sheet import DIMENSIONS, Axes


@dataclass(frozen=True)
class FitRow:
    """A trained network in `law.json`."""

    name: str
    x: tuple[float, ...]  # on each axis
    error: float
    runs: float


@dataclass(frozen=True)
class FitRecord:
    """The "fit" of `law.json`: the rows that its numbers came from."""

    axes: tuple[str, ...]
    units: Mapping[str, float]
    base: Spec | None
    run_sd: float
    run_sd_from: str
    freedom: float | None  # None: any number
    rows: tuple[FitRow, ...]
    checks: Checks

    def __post_init__(self) -> None:
        require_run_sd(self.run_sd)


FIT = Format(
    FitRecord,
    "phiscale_fit",
    UsageError,
    "Write it again with phiscale law fit TABLE --out law.json.",
)


@dataclass(frozen=True, eq=False)
class FittedLaw:
    """A law with its rows, the meaning of its axes, and its checks against other models."""

    fit: Posterior
    axes: Axes
    checks: Checks

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data: the point estimate, and the rows that it was fitted to."""
        return with_checksum({**self._estimate(), "fit": FIT.encode(self._record())})

    def _estimate(self) -> dict[str, Any]:
        fit = self.fit
        if set(DIMENSIONS) <= set(self.axes.names) <= {*DIMENSIONS, "images"}:
            return fit.law().to_dict()
        e0, terms = fit.terms()
        return {
            FORMAT.marker: FORMAT.version,
            "e0": e0,
            "sd": fit.sd,
            "source": fit.source,
            "terms": {axis: asdict(term) for axis, term in terms.items()},
        }

    def _record(self) -> FitRecord:
        fit, points = self.fit, self.fit.points
        rows = zip(points.names, points.x, points.error, points.runs, strict=True)
        return FitRecord(
            axes=self.axes.names,
            units=dict(self.axes.units),
            base=self.axes.base,
            run_sd=fit.run_sd,
            run_sd_from=fit.run_sd_from,
            freedom=fit.freedom if np.isfinite(fit.freedom) else None,
            rows=tuple(
                FitRow(name, tuple(map(float, x)), float(error), float(runs))
                for name, x, error, runs in rows
            ),
            checks=self.checks,
        )

    def write(self, path: Path) -> None:
        """Writes `law.json`."""
        write_json(path, self.to_dict())

    @staticmethod
    def read(path: Path | str) -> FittedLaw:
        """Reads `law.json`. UsageError: it has no rows of a fit."""
        return FittedLaw.from_dict(read_json(Path(path)), str(path))

    @staticmethod
    def from_dict(data: Any, where: str = "the law") -> FittedLaw:
        """Returns the law of what `to_dict` gave."""
        try:
            payload = verify_checksum(data, where, FIT.fix, required=False)
        except PhiscaleError as error:
            raise UsageError(str(error)) from None
        if "fit" not in payload or payload.get(FORMAT.marker) != FORMAT.version:
            raise UsageError(
                f"{where} does not hold the rows that a law was fitted to. "
                "Write it with phiscale law fit TABLE --out law.json."
            )
        record = FIT.decode(payload["fit"], f'the "fit" of {where}')
        width = len(record.axes)
        if any(len(row.x) != width for row in record.rows):
            raise UsageError(f'the "fit" of {where} has rows of other axes. {FIT.fix}')
        points = Points(
            record.axes,
            np.array([row.x for row in record.rows], dtype=float).reshape(-1, width),
            np.array([row.error for row in record.rows], dtype=float),
            np.array([row.runs for row in record.rows], dtype=float),
            tuple(row.name for row in record.rows),
        )
        fit = posterior(
            require_fittable(points, fewest_rows(points.axes)),
            run_sd=record.run_sd,
            source=str(payload.get("source", "")),
        )
        freedom = np.inf if record.freedom is None else record.freedom
        axes = Axes(names=record.axes, base=record.base, units=record.units)
        fit = replace(fit, run_sd_from=record.run_sd_from, freedom=freedom)
        return FittedLaw(fit, axes, record.checks)


def fewest_rows(axes: tuple[str, ...]) -> int:
    """Returns the least number of rows: as many as coefficients, but at least three."""
    return max(3, len(axes) + 1)
