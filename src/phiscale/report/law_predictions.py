"""`phiscale.predict_errors`: what error a fitted law predicts for networks, and what they gain."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phiscale.arch.costs import cost
from phiscale.arch.families import as_spec
from phiscale.arch.scaling import compound, scale
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.laws.file import FittedLaw
from phiscale.planning.laws.sheet import COUNTED, DIMENSIONS
from phiscale.report.describe import name_network
from phiscale.report.law_report import clip_to_shares, format_interval

logger = logging.getLogger(__name__)

NamedSpec = tuple[str, Spec]


def predict_errors(
    law: FittedLaw | str | os.PathLike[str],
    networks: Spec | str | Sequence[Spec | str] = (),
    *,
    phi: float | Sequence[float] = (),
    coefficients: Coefficients | str | os.PathLike[str] | None = None,
    images_seen: float | None = None,
) -> list[dict[str, Any]]:
    """Predicts the errors of networks by a fitted law, and what they gain over its base.

    Args:
        law: what `fit_law` fitted (its `law`), or the law.json that it wrote.
        networks: one or many: specs, names of models, spec.json files or file.py:NAME; by default
            the law's base.
        phi: values of phi to scale each network by; by default it stays as it is.
        coefficients: measured ones or their found.json, instead of 1.2, 1.1 and 1.15.
        images_seen: in training, for a law that counts them.

    Returns a row for each network. Errors and gains are fractions: `low` and `high` hold 95 % of
    runs, `gain_low` and `gain_high` 95 % of means over many runs. Logs a warning for a network of
    another family than the law's base.

    Raises UsageError where a network alone does not give the law's axes, where it is beyond the
    law's rows, and for arguments out of range. SpecError: a network cannot be built.
    """
    phis = tuple(phi) if isinstance(phi, Sequence) else (phi,)
    _check(phis, coefficients)
    fitted = law if isinstance(law, FittedLaw) else FittedLaw.read(Path(law))
    if isinstance(coefficients, str | os.PathLike):
        coefficients = Coefficients.read(Path(coefficients))
    named = _scaled(list(_named(networks, fitted.axes.base)), phis, coefficients)
    _require_axes(fitted, images_seen)
    for name, spec in named:
        if not _has_same_blocks(spec, fitted.axes.base):
            logger.warning(
                "%s is of another family than the law's base. The law says little of it.", name
            )
    return [_predict(fitted, name, spec, images_seen) for name, spec in named]


def format_predictions(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the predictions for a reader: per cent, intervals in one column."""
    return [
        {
            "network": row["network"],
            "macs": row["macs"],
            "over base": round(row["macs_over_base"], 2),
            "error %": round(100 * row["error"], 2),
            "95 % of runs": format_interval(row["low"], row["high"]),
            "gain": round(100 * row["gain"], 2),
            "95 % of the gain": format_interval(row["gain_low"], row["gain_high"]),
        }
        for row in rows
    ]


def _check(phis: Sequence[float], coefficients: object) -> None:
    if coefficients is not None and not phis:
        raise UsageError("`coefficients` are powers of phi. Add `phi`, such as phi=1.")
    if infinite := [value for value in phis if not math.isfinite(value)]:
        raise UsageError(f"phi={infinite[0]} is out of range. Use finite numbers.")


def _named(networks: Spec | str | Sequence[Spec | str], base: Spec | None) -> Iterator[NamedSpec]:
    """The networks by their names; by default the law's base."""
    listed = [networks] if isinstance(networks, Spec | str) else networks
    for network in listed or ([] if base is None else [base]):
        spec = as_spec(network)
        yield network if isinstance(network, str) else name_network(spec), spec


def _scaled(
    named: Sequence[NamedSpec], phis: Sequence[float], coefficients: Coefficients | None
) -> Sequence[NamedSpec]:
    """The networks scaled by each phi, or as they are without one."""
    at = coefficients.at if coefficients else compound
    scalings = [(f" phi {phi:g}", at(phi)) for phi in phis]
    return [
        (name + suffix, scale(spec, by)) for name, spec in named for suffix, by in scalings
    ] or named


def _require_axes(law: FittedLaw, images_seen: float | None) -> None:
    """Raises UsageError where networks and `images_seen` do not give the law's axes."""
    names = law.axes.names
    if strange := set(names) - {*DIMENSIONS, *COUNTED, "images"}:
        raise UsageError(
            f"the law is one of {', '.join(sorted(strange))}, which a network alone does not give. "
            "Fit one with axes=macs or axes=depth,width,resolution."
        )
    if ("images" in names) != (images_seen is not None):
        needs = "counts images seen. Give" if images_seen is None else "does not count them. Drop"
        raise UsageError(f"`images_seen`: the law {needs} `images_seen`.")
    if law.axes.base is None:
        raise UsageError(
            "the law does not know its base. Fit it again with `base`, or from a table with "
            "a column model."
        )


def _predict(law: FittedLaw, name: str, spec: Spec, images_seen: float | None) -> dict[str, Any]:
    axes, fit, base = law.axes, law.fit, law.axes.base
    assert base is not None
    values = {} if images_seen is None else {"images_seen": images_seen}
    place = axes.position(name, spec, values)
    beyond = float(fit.points.beyond(np.array(place)))
    law.checks.require_range(beyond, name)
    error = fit.predict(place)
    if float(error.error) > 1:
        raise UsageError(
            f"{name} is so far from the law's rows that its predicted error is above 100 %. "
            "Use a network nearer to them."
        )
    over = fit.predict(place, reference=axes.position("the base", base, values))
    low, high = clip_to_shares(error.interval)
    worse, better = over.expected_interval
    macs = cost(spec).macs
    return {
        "network": name,
        "macs": macs,
        "macs_over_base": macs / cost(base).macs,
        "beyond_rows": beyond,
        "error": float(error.error),
        "low": float(low),
        "high": float(high),
        "gain": -float(over.error),
        "gain_low": -float(better),
        "gain_high": -float(worse),
    }


def _has_same_blocks(spec: Spec, base: Spec | None) -> bool:
    """Whether one law may hold for both: it says nothing of other blocks."""
    return base is None or {s.block for s in spec.stages} == {s.block for s in base.stages}
