"""A fitted law as rows, tables, sentences and a figure."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phiscale.arch.spec import Spec
from phiscale.errors import full_install
from phiscale.planning.laws.file import FittedLaw
from phiscale.planning.laws.optimum import Optimum, Triple
from phiscale.planning.laws.points import Points
from phiscale.report.describe import name_network
from phiscale.text import printable

RUN_SD_SOURCES = {
    "given": "given",
    "replicates": "from rows at the same place",
    "jackknife": "from rows left out",
    "assumed": "assumed: `run_sd` replaces it",
}


@dataclass(frozen=True, eq=False)
class LawReport:
    """A fitted law, the rows held out of the fit, and its optimal coefficients."""

    law: FittedLaw
    held_out: Points | None
    optimum: Optimum | None  # None: the law lacks depth, width or resolution
    bootstrap: tuple[Triple, Triple] | None  # intervals of its coefficients: low, high

    def __str__(self) -> str:
        return "\n".join(self.summary())

    def draw(self, path: str | os.PathLike[str]) -> None:
        """Draws the law, its 95 % band and the rows to a .png or .svg file."""
        with full_install("drawing a law"):
            from phiscale.report.law_plot import draw_law

        draw_law(Path(path), self.law.fit, self.held_out, _name_base(self.law.axes.base))

    def rows(self) -> list[dict[str, Any]]:
        """Returns a row for each network: axes, error, and errors by the law with and without it.

        Errors are fractions; `low` and `high` hold 95 % of runs.
        """
        fit = self.law.fit
        parts = [(fit.points, False)] + ([(self.held_out, True)] if self.held_out else [])
        rows: list[dict[str, Any]] = []
        for points, held_out in parts:
            predicted = fit.predict(points.x)
            low, high = clip_to_shares(predicted.interval)
            for number, name in enumerate(points.names):
                out = float(fit.left_out.error[number]) if not held_out else float("nan")
                rows.append(
                    {
                        "network": name,
                        **dict(zip(points.axes, map(float, points.x[number]), strict=True)),
                        "error": float(points.error[number]),
                        "law": float(predicted.error[number]),
                        "low": float(low[number]),
                        "high": float(high[number]),
                        "left_out": out if np.isfinite(out) else None,
                        "held_out": held_out,
                    }
                )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it as plain data, for --json: errors as fractions."""
        best = self.optimum
        return {
            "law": self.law.to_dict(),
            "rows": self.rows(),
            "floor": self.law.fit.floor,
            "coefficients": None
            if best is None
            else {
                "compute": best.compute_ratio,
                **{
                    name: {"value": best.values[i], "low": best.low[i], "high": best.high[i]}
                    for i, name in enumerate(("alpha", "beta", "gamma"))
                },
                "bootstrap": self.bootstrap,
                "slopes": best.slopes,
                "offsets": best.offsets,
                "symmetric_null": {
                    "coefficients": best.equal_split,
                    "costs": best.equal_split_costs,
                    "excluded": best.equal_split_excluded,
                },
            },
        }

    def table(self) -> list[dict[str, Any]]:
        """Returns the rows for a reader: per cent, the interval in one column."""
        return [
            {
                **{key: value for key, value in row.items() if key in ("network", *self._axes)},
                "error %": round(100 * row["error"], 2),
                "law %": round(100 * row["law"], 2),
                "left out %": None if row["left_out"] is None else round(100 * row["left_out"], 2),
                "95 % of runs": format_interval(row["low"], row["high"]),
                "row": ("held out" if row["held_out"] else "fitted") if self.held_out else None,
            }
            for row in self.rows()
        ]

    @property
    def _axes(self) -> tuple[str, ...]:
        return self.law.axes.names

    def summary(self) -> Iterator[str]:
        """Yields the formula, the noise, the checks and the coefficients as sentences."""
        fit, axes = self.law.fit, self.law.axes
        e0, terms = fit.terms()
        formula = " + ".join(f"{100 * t.A:.3g} {axis}^-{t.p:.2g}" for axis, t in terms.items())
        source = printable(fit.source)
        yield f"error % = {100 * e0:.3g} + {formula}, over {_name_base(axes.base)} ({source})"
        yield (
            f"One run differs by {100 * fit.run_sd:.2f} points "
            f"({RUN_SD_SOURCES[fit.run_sd_from]}), the law's form by {100 * fit.floor:.2f}."
        )
        yield self.law.checks.summary()
        yield from map(str, self.law.checks.flags)
        if self.optimum:
            intervals = zip(
                ("alpha", "beta", "gamma"),
                self.optimum.values,
                self.optimum.low,
                self.optimum.high,
                strict=True,
            )
            named = ", ".join(
                f"{n} {v:.2f} [{low:.2f}, {high:.2f}]" for n, v, low, high in intervals
            )
            yield f"At {self.optimum.compute_ratio:g}x the compute: {named}."
            if self.bootstrap:
                yield describe_bootstrap(*self.bootstrap)
            yield self.optimum.verdict()


def describe_bootstrap(low: Sequence[float], high: Sequence[float]) -> str:
    """Says which intervals the bootstrap gives, beside those of the fit."""
    bounds = zip(("alpha", "beta", "gamma"), low, high, strict=True)
    intervals = ", ".join(f"{name} [{a:.2f}, {b:.2f}]" for name, a, b in bounds)
    return f"By the bootstrap, from the residuals instead of the seed noise: {intervals}."


def clip_to_shares(interval: tuple[Any, Any]) -> tuple[Any, Any]:
    """Returns an interval of errors within 0 and 1."""
    return np.maximum(0.0, interval[0]), np.minimum(1.0, interval[1])


def format_interval(low: float, high: float) -> str:
    """Writes an interval of fractions in per cent."""
    return f"{100 * low:.2f} to {100 * high:.2f}"


def _name_base(base: Spec | None) -> str:
    return "the base" if base is None else name_network(base)
