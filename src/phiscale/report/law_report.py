"""The results of `law fit` and `law predict`: rows, tables, sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phiscale.arch.costs import cost
from phiscale.arch.families import name_of
from phiscale.arch.scaling import Scaling, compound, scale
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.laws.checks import check
from phiscale.planning.laws.file import FittedLaw, fewest_rows
from phiscale.planning.laws.optimum import Optimum, Three, bootstrap_intervals, optimum
from phiscale.planning.laws.points import Points, require_fittable
from phiscale.planning.laws.posterior import posterior
from phiscale.planning.laws.sheet import COUNTED, DIMENSIONS, Sheet
from phiscale.report.gp import gp_left_out
from phiscale.text import did_you_mean

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
    bootstrap: tuple[Three, Three] | None  # intervals of its coefficients: low, high

    def rows(self) -> list[dict[str, Any]]:
        """Returns a row for each network: axes, error, and errors by the law with and without it.

        Errors are fractions; `low` and `high` hold 95 % of runs.
        """
        fit = self.law.fit
        parts = [(fit.points, False)] + ([(self.held_out, True)] if self.held_out else [])
        rows: list[dict[str, Any]] = []
        for points, held_out in parts:
            predicted = fit.predict(points.x)
            low, high = _clip(predicted.interval)
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
                "95 % of runs": _between(row["low"], row["high"]),
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
        yield f"error % = {100 * e0:.3g} + {formula}, over {name_base(axes.base)} ({fit.source})"
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


def fit_sheet(
    sheet: Sheet,
    *,
    axes: Sequence[str] = (),
    base: Spec | None = None,
    hold_out: Sequence[str] = (),
    run_sd: float | None = None,
    robust: bool = False,
    compute_ratio: float = 2.0,
) -> LawReport:
    """Fits a law to a table and checks it.

    `hold_out`: names of rows to predict instead of fitting. `run_sd`: seed standard deviation as a
    fraction. `compute_ratio`: cost over the base's at which the coefficients are optimal.
    UsageError: rows lack an axis, are too few, or a name is no row.
    """
    names = tuple(axes) or sheet.choose_axes(base)
    scaled = sheet.axes_over(names, base)
    points = sheet.points(scaled)
    held = [_row_of(name, points.names) for name in hold_out]
    kept = [row for row in range(len(points)) if row not in held]
    fitted = require_fittable(points.select(kept), fewest_rows(names))
    fit = posterior(
        fitted,
        run_sd=sheet.run_sd if run_sd is None else run_sd,
        robust=robust,
        source=sheet.source,
    )
    by_gp = gp_left_out(fit)
    checks = check(fit, _macs(sheet, kept), {} if by_gp is None else {"gp": by_gp})
    best = optimum(fit, compute_ratio) if set(DIMENSIONS) <= set(names) else None
    return LawReport(
        law=FittedLaw(fit, scaled, checks),
        held_out=points.select(held) if held else None,
        optimum=best,
        bootstrap=bootstrap_intervals(fit, compute_ratio) if best else None,
    )


def describe_bootstrap(low: Sequence[float], high: Sequence[float]) -> str:
    """Says which intervals the bootstrap gives, beside those of the fit."""
    bounds = zip(("alpha", "beta", "gamma"), low, high, strict=True)
    intervals = ", ".join(f"{name} [{a:.2f}, {b:.2f}]" for name, a, b in bounds)
    return f"By the bootstrap, from the residuals instead of the seed noise: {intervals}."


def _macs(sheet: Sheet, kept: Sequence[int]) -> Points | None:
    try:
        return sheet.points(sheet.axes_over(("macs",))).select(kept)
    except UsageError:
        return None


def _row_of(name: str, names: Sequence[str]) -> int:
    if name not in names:
        advice = did_you_mean(name, names, f"Rows are {', '.join(names)}.")
        raise UsageError(f"hold_out={name} is no row of the table. {advice}")
    return names.index(name)


def predict_errors(
    law: FittedLaw, networks: Sequence[tuple[str, Spec]], images_seen: float | None = None
) -> list[dict[str, Any]]:
    """Predicts the error of each network and its gain over the law's base, as fractions.

    The interval of the error holds 95 % of runs, that of the gain 95 % of means over many runs.
    UsageError: a network alone does not give the law's axes, or it is beyond the law's rows.
    """
    axes, fit = law.axes, law.fit
    if strange := set(axes.names) - {*DIMENSIONS, *COUNTED, "images"}:
        raise UsageError(
            f"the law is one of {', '.join(sorted(strange))}, which a network alone does not give. "
            "Fit one with axes=macs or axes=depth,width,resolution."
        )
    if ("images" in axes.names) != (images_seen is not None):
        needs = "counts images seen. Give" if images_seen is None else "does not count them. Drop"
        raise UsageError(f"`images_seen`: the law {needs} `images_seen`.")
    if axes.base is None:
        raise UsageError(
            "the law does not know its base. Fit it again with `base`, or from a table with "
            "a column model."
        )
    values = {} if images_seen is None else {"images_seen": images_seen}
    origin = axes.position("the base", axes.base, values)
    rows: list[dict[str, Any]] = []
    for name, spec in networks:
        place = axes.position(name, spec, values)
        beyond = float(fit.points.beyond(np.array(place)))
        law.checks.require_range(beyond, name)
        error, over = fit.predict(place), fit.predict(place, reference=origin)
        if float(error.error) > 1:
            raise UsageError(
                f"{name} is so far from the law's rows that its predicted error is above 100 %. "
                "Use a network nearer to them."
            )
        low, high = _clip(error.interval)
        worse, better = over.expected_interval
        macs = cost(spec).macs
        rows.append(
            {
                "network": name,
                "macs": macs,
                "macs_over_base": macs / cost(axes.base).macs,
                "beyond_rows": beyond,
                "error": float(error.error),
                "low": float(low),
                "high": float(high),
                "gain": -float(over.error),
                "gain_low": -float(better),
                "gain_high": -float(worse),
            }
        )
    return rows


def format_predictions(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the predictions for a reader: per cent, intervals in one column."""
    return [
        {
            "network": row["network"],
            "macs": row["macs"],
            "over base": round(row["macs_over_base"], 2),
            "error %": round(100 * row["error"], 2),
            "95 % of runs": _between(row["low"], row["high"]),
            "gain": round(100 * row["gain"], 2),
            "95 % of the gain": _between(row["gain_low"], row["gain_high"]),
        }
        for row in rows
    ]


def scale_by_phi(
    specs: Sequence[tuple[str, Spec]],
    phis: Sequence[float],
    base: Spec | None,
    scaling_of: Callable[[float], Scaling] = compound,
) -> list[tuple[str, Spec]]:
    """Returns the networks scaled by each phi, or as they are without one; by default the base."""
    if not specs and base is not None:
        specs = [(name_base(base), base)]
    scalings = [(f" phi {phi:g}", scaling_of(phi)) for phi in phis]
    if not scalings:
        return list(specs)
    return [
        (name + suffix, scale(spec, scaling))
        for name, spec in specs
        for suffix, scaling in scalings
    ]


def has_same_blocks(spec: Spec, base: Spec | None) -> bool:
    """Whether one law may hold for both: it says nothing of other blocks."""
    return base is None or {s.block for s in spec.stages} == {s.block for s in base.stages}


def name_base(base: Spec | None) -> str:
    """Returns what multipliers are over, for a reader."""
    if base is None:
        return "the base"
    return name_of(base) or f"a network of {base.blocks} blocks at {base.resolution} px"


def _clip(interval: tuple[Any, Any]) -> tuple[Any, Any]:
    return np.maximum(0.0, interval[0]), np.minimum(1.0, interval[1])


def _between(low: float, high: float) -> str:
    return f"{100 * low:.2f} to {100 * high:.2f}"
