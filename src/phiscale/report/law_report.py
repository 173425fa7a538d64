"""What `law fit` and `law predict` find and say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
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

RUN_SD_SAYS = {
    "given": "given",
    "replicates": "from rows at the same place",
    "jackknife": "from rows left out",
    "assumed": "assumed: `run_sd` replaces it",
}


@dataclass(frozen=True, eq=False)
class LawReport:
    """A fitted law, the rows kept from it, and the coefficients it gives."""

    law: FittedLaw
    held: Points | None
    found: Optimum | None
    again: tuple[Three, Three] | None  # its intervals by the bootstrap

    def rows(self) -> list[dict[str, Any]]:
        """A row for each network: where it stands, its error, what the law and the others say."""
        fit = self.law.fit
        parts = [(fit.points, False)] + ([(self.held, True)] if self.held else [])
        rows: list[dict[str, Any]] = []
        for points, held in parts:
            said = fit.predict(points.x)
            low, high = _cut(said.interval)
            for number, name in enumerate(points.names):
                out = float(fit.left_out.error[number]) if not held else float("nan")
                rows.append(
                    {
                        "network": name,
                        **dict(zip(points.axes, map(float, points.x[number]), strict=True)),
                        "error": float(points.error[number]),
                        "law": float(said.error[number]),
                        "low": float(low[number]),
                        "high": float(high[number]),
                        "left_out": out if np.isfinite(out) else None,
                        "held_out": held,
                    }
                )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """As JSON; errors are fractions."""
        found = self.found
        return {
            "law": self.law.to_dict(),
            "rows": self.rows(),
            "floor": self.law.fit.floor,
            "coefficients": None
            if found is None
            else {
                "compute": found.compute_ratio,
                **{
                    name: {"value": found.values[i], "low": found.low[i], "high": found.high[i]}
                    for i, name in enumerate(("alpha", "beta", "gamma"))
                },
                "bootstrap": self.again,
                "slopes": found.slopes,
                "offsets": found.offsets,
                "symmetric_null": {
                    "coefficients": found.equal_split,
                    "costs": found.equal_split_costs,
                    "excluded": found.equal_split_excluded,
                },
            },
        }

    def table(self) -> list[dict[str, Any]]:
        """The rows for a reader: per cent, the interval in one column."""
        return [
            {
                **{key: value for key, value in row.items() if key in ("network", *self._axes)},
                "error %": round(100 * row["error"], 2),
                "law %": round(100 * row["law"], 2),
                "left out %": None if row["left_out"] is None else round(100 * row["left_out"], 2),
                "95 % of runs": _between(row["low"], row["high"]),
                "row": ("held out" if row["held_out"] else "fitted") if self.held else None,
            }
            for row in self.rows()
        ]

    @property
    def _axes(self) -> tuple[str, ...]:
        return self.law.axes.names

    def lines(self) -> Iterator[str]:
        """What else there is to say."""
        fit, axes = self.law.fit, self.law.axes
        e0, terms = fit.terms()
        sums = " + ".join(f"{100 * t.A:.3g} {axis}^-{t.p:.2g}" for axis, t in terms.items())
        yield f"error % = {100 * e0:.3g} + {sums}, over {unit_of(axes.base)} ({fit.source})"
        yield (
            f"One run differs by {100 * fit.run_sd:.2f} points ({RUN_SD_SAYS[fit.run_sd_from]}), "
            f"the law's form by {100 * fit.floor:.2f}."
        )
        yield self.law.checks.summary()
        yield from map(str, self.law.checks.flags)
        if self.found:
            said = zip(
                ("alpha", "beta", "gamma"),
                self.found.values,
                self.found.low,
                self.found.high,
                strict=True,
            )
            named = ", ".join(f"{n} {v:.2f} [{low:.2f}, {high:.2f}]" for n, v, low, high in said)
            yield f"At {self.found.compute_ratio:g}x the compute: {named}."
            if self.again:
                yield bootstrap_words(*self.again)
            yield self.found.verdict()


def fit_sheet(
    sheet: Sheet,
    *,
    axes: Sequence[str] = (),
    base: Spec | None = None,
    hold_out: Sequence[str] = (),
    run_sd: float | None = None,
    robust: bool = False,
    compute: float = 2.0,
) -> LawReport:
    """Fits a law to a table, checks it, and keeps the rows named in `hold_out` from it.

    Errors: UsageError for axes that rows do not tell, rows that are too few, names that are none.
    """
    names = tuple(axes) or sheet.choose_axes(base)
    scaled = sheet.axes_over(names, base)
    points = sheet.points(scaled)
    held = [_row_of(name, points.names) for name in hold_out]
    kept = [row for row in range(len(points)) if row not in held]
    known = require_fittable(points.select(kept), fewest_rows(names))
    fit = posterior(
        known, run_sd=sheet.run_sd if run_sd is None else run_sd, robust=robust, source=sheet.source
    )
    further = gp_left_out(fit)
    checks = check(fit, _macs(sheet, kept), {} if further is None else {"gp": further})
    found = optimum(fit, compute) if set(DIMENSIONS) <= set(names) else None
    again = bootstrap_intervals(fit, compute) if found else None
    kept_out = points.select(held) if held else None
    return LawReport(FittedLaw(fit, scaled, checks), kept_out, found, again)


def bootstrap_words(low: Sequence[float], high: Sequence[float]) -> str:
    """The intervals of the bootstrap beside those of the fit."""
    each = zip(("alpha", "beta", "gamma"), low, high, strict=True)
    said = ", ".join(f"{name} [{a:.2f}, {b:.2f}]" for name, a, b in each)
    return f"By the bootstrap, from what rows are off the law instead of a run's noise: {said}."


def _macs(sheet: Sheet, kept: Sequence[int]) -> Points | None:
    try:
        return sheet.points(sheet.axes_over(("macs",))).select(kept)
    except UsageError:
        return None


def _row_of(name: str, names: Sequence[str]) -> int:
    if name not in names:
        near = get_close_matches(name, names, n=1)
        mend = f"Did you mean {near[0]}?" if near else f"Rows are {', '.join(names)}."
        raise UsageError(f"hold_out={name} is no row of the table. {mend}")
    return names.index(name)


def predicted(
    law: FittedLaw, networks: Sequence[tuple[str, Spec]], images_seen: float | None = None
) -> list[dict[str, Any]]:
    """For each network its error, with an interval that holds one run 95 times in 100, and what is
    gained over the base, with one of the gain in the mean of many; fractions.

    Errors: UsageError for a law whose axes a network alone does not tell, and beyond where the
    law's checks allow it to go.
    """
    axes, fit = law.axes, law.fit
    if strange := set(axes.names) - {*DIMENSIONS, *COUNTED, "images"}:
        raise UsageError(
            f"the law is one of {', '.join(sorted(strange))}, which a network does not tell. "
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
        said, over = fit.predict(place), fit.predict(place, reference=origin)
        if float(said.error) > 1:
            raise UsageError(
                f"{name}: by the law more than every picture would be wrong, so far "
                "is it from its rows. Ask nearer to them."
            )
        low, high = _cut(said.interval)
        worse, better = over.expected_interval
        macs = cost(spec).macs
        rows.append(
            {
                "network": name,
                "macs": macs,
                "macs_over_base": macs / cost(axes.base).macs,
                "beyond_rows": beyond,
                "error": float(said.error),
                "low": float(low),
                "high": float(high),
                "gain": -float(over.error),
                "gain_low": -float(better),
                "gain_high": -float(worse),
            }
        )
    return rows


def predicted_table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same for a reader: points, intervals in one column."""
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


def scaled_networks(
    specs: Sequence[tuple[str, Spec]],
    phis: Sequence[float],
    base: Spec | None,
    at: Callable[[float], Scaling] = compound,
) -> list[tuple[str, Spec]]:
    """The networks themselves, or scaled by `at` of each of `phis`; without any, the base."""
    if not specs and base is not None:
        specs = [(unit_of(base), base)]
    by = [(f" phi {phi:g}", at(phi)) for phi in phis]
    if not by:
        return list(specs)
    return [(name + word, scale(spec, scaling)) for name, spec in specs for word, scaling in by]


def akin(spec: Spec, base: Spec | None) -> bool:
    """May one law hold for both? Of different blocks it says nothing."""
    return base is None or {s.block for s in spec.stages} == {s.block for s in base.stages}


def unit_of(base: Spec | None) -> str:
    """What multipliers are over, for a reader."""
    if base is None:
        return "the base"
    return name_of(base) or f"a net of {base.blocks} blocks at {base.resolution} px"


def _cut(interval: tuple[Any, Any]) -> tuple[Any, Any]:
    return np.maximum(0.0, interval[0]), np.minimum(1.0, interval[1])


def _between(low: float, high: float) -> str:
    return f"{100 * low:.2f} to {100 * high:.2f}"
