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

from phiscale.errors import SpecError, UsageError
from phiscale.files import read_json, write_json
from phiscale.laws.checks import Checks, Flag
from phiscale.laws.law import LAW_VERSION
from phiscale.laws.points import Points, checked
from phiscale.laws.posterior import Posterior, posterior
from phiscale.laws.sheet import DIMENSIONS, Axes
from phiscale.spec import Spec


@dataclass(frozen=True, eq=False)
class FittedLaw:
    """A law, what its axes mean, and how it stood its checks."""

    fit: Posterior
    axes: Axes
    checks: Checks

    def to_dict(self) -> dict[str, Any]:
        """Plain data: a point estimate for every reader, and the rows for ours."""
        fit, axes = self.fit, self.axes
        e0, terms = fit.terms()
        dimensional = set(DIMENSIONS) <= set(axes.names) <= {*DIMENSIONS, "images"}
        head = fit.law().to_dict() if dimensional else {
            "phiscale_law": LAW_VERSION, "e0": e0, "sd": fit.sd, "source": fit.source,
            "terms": {axis: asdict(term) for axis, term in terms.items()},
        }  # fmt: skip
        rows = [
            {"name": name, "x": list(map(float, x)), "error": float(error), "runs": float(runs)}
            for name, x, error, runs in zip(
                fit.points.names, fit.points.x, fit.points.error, fit.points.runs, strict=True
            )
        ]
        return head | {
            "fit": {
                "axes": list(axes.names), "units": dict(axes.units),
                "base": axes.base.to_dict() if axes.base else None,
                "run_sd": fit.run_sd, "run_sd_from": fit.run_sd_from,
                "freedom": fit.freedom if np.isfinite(fit.freedom) else None,
                "rows": rows, "checks": asdict(self.checks),
            }
        }  # fmt: skip

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
        said = data.get("fit") if isinstance(data, Mapping) else None
        if not isinstance(said, Mapping) or data.get("phiscale_law") != LAW_VERSION:
            raise UsageError(
                f"{where} does not hold the rows that a law was fitted to. "
                "Write it with phiscale law fit TABLE --out law.json."
            )
        try:
            points = Points(
                tuple(said["axes"]),
                np.array([row["x"] for row in said["rows"]], dtype=float),
                np.array([row["error"] for row in said["rows"]], dtype=float),
                np.array([row["runs"] for row in said["rows"]], dtype=float),
                tuple(str(row["name"]) for row in said["rows"]),
            )
            if points.x.shape != (len(points), len(points.axes)):
                raise ValueError
            axes = Axes(
                names=points.axes, base=Spec.from_dict(said["base"]) if said["base"] else None,
                units={axis: float(unit) for axis, unit in said["units"].items()},
            )  # fmt: skip
            found = said["checks"]
            flags = tuple(Flag(**flag) for flag in found["flags"])
            checks = Checks(**{**found, "flags": flags})
            run_sd, freedom = float(said["run_sd"]), float(said["freedom"] or "inf")
            told, source = str(said["run_sd_from"]), str(data["source"])
        except (TypeError, KeyError, ValueError, AttributeError, SpecError):
            raise UsageError(
                f'{where} has a "fit" that is not whole. '
                "Write it again with phiscale law fit TABLE --out law.json."
            ) from None
        fit = posterior(checked(points, fewest(points.axes)), run_sd=run_sd, source=source)
        return FittedLaw(replace(fit, run_sd_from=told, freedom=freedom), axes, checks)


def fewest(axes: tuple[str, ...]) -> int:
    """Rows below which there is nothing to fit: as many as coefficients, three at least."""
    return max(3, len(axes) + 1)
