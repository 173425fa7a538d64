"""law.json: what `phiscale law fit --out` writes.

It is the file that `--law` of `solve` and `fit` takes, where its axes are depth, width and
resolution, and holds in "fit" what the numbers came from: the rows, so that `phiscale law predict`
has intervals. A posterior is found again from its rows in milliseconds, so it is not kept.
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
from phiscale.planning.laws.law import FORMAT
from phiscale.planning.laws.points import Points, require_fittable
from phiscale.planning.laws.posterior import Posterior, posterior
from phiscale.planning.laws.sheet import DIMENSIONS, Axes


@dataclass(frozen=True)
class FitRow:
    """A trained network, as `law.json` keeps it."""

    name: str
    x: tuple[float, ...]  # on each axis
    error: float
    runs: float


@dataclass(frozen=True)
class Fit:
    """The "fit" of `law.json`: what its numbers came from."""

    axes: tuple[str, ...]
    units: Mapping[str, float]
    base: Spec | None
    run_sd: float
    run_sd_from: str
    freedom: float | None  # None: any number
    rows: tuple[FitRow, ...]
    checks: Checks


FIT = Format(
    Fit,
    "phiscale_fit",
    UsageError,
    "Write it again with phiscale law fit TABLE --out law.json.",
)


@dataclass(frozen=True, eq=False)
class FittedLaw:
    """A law, what its axes mean, and how it stood its checks."""

    fit: Posterior
    axes: Axes
    checks: Checks

    def to_dict(self) -> dict[str, Any]:
        """Plain data: a point estimate for every reader, and the rows for ours."""
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

    def _record(self) -> Fit:
        fit, points = self.fit, self.fit.points
        rows = zip(points.names, points.x, points.error, points.runs, strict=True)
        return Fit(
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
        """Writes the JSON that `read` reads."""
        write_json(path, self.to_dict())

    @staticmethod
    def read(path: Path) -> FittedLaw:
        """The inverse. Raises UsageError for a file that holds no rows, or not what they need."""
        return FittedLaw.from_dict(read_json(path), str(path))

    @staticmethod
    def from_dict(data: Any, where: str = "the law") -> FittedLaw:
        """The inverse of `to_dict`."""
        try:
            payload = verify_checksum(data, where, FIT.fix, required=False)
        except PhiscaleError as error:
            raise UsageError(str(error)) from None
        if "fit" not in payload or payload.get(FORMAT.marker) != FORMAT.version:
            raise UsageError(
                f"{where} does not hold the rows that a law was fitted to. "
                "Write it with phiscale law fit TABLE --out law.json."
            )
        kept = FIT.decode(payload["fit"], f'the "fit" of {where}')
        width = len(kept.axes)
        if any(len(row.x) != width for row in kept.rows):
            raise UsageError(f'the "fit" of {where} has rows of other axes. {FIT.fix}')
        points = Points(
            kept.axes,
            np.array([row.x for row in kept.rows], dtype=float).reshape(-1, width),
            np.array([row.error for row in kept.rows], dtype=float),
            np.array([row.runs for row in kept.rows], dtype=float),
            tuple(row.name for row in kept.rows),
        )
        fit = posterior(
            require_fittable(points, fewest_rows(points.axes)),
            run_sd=kept.run_sd,
            source=str(payload.get("source", "")),
        )
        freedom = np.inf if kept.freedom is None else kept.freedom
        axes = Axes(names=kept.axes, base=kept.base, units=kept.units)
        fit = replace(fit, run_sd_from=kept.run_sd_from, freedom=freedom)
        return FittedLaw(fit, axes, kept.checks)


def fewest_rows(axes: tuple[str, ...]) -> int:
    """Rows below which there is nothing to fit: as many as coefficients, three at least."""
    return max(3, len(axes) + 1)
