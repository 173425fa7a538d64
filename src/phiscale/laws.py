"""Error laws: what error a scaled network will have, before it is trained.

    e = e0 + A_d d^-p_d + A_w w^-p_w + A_r r^-p_r + A_s s^-p_s

d, w, r = real blocks, channels and pixels over the base's; s = images seen in training. An additive
law saturates along every single dimension; its optimum under d w^2 r^2 = T is a compound scaling.
Errors are fractions. Numbers from published tables are priors, to be replaced by one's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol

from phiscale.errors import UsageError
from phiscale.files import read_json, write_json
from phiscale.scaling import Scaling

LAW_VERSION = 1
IMAGES_UNIT = 1e6

Number = Any  # float or numpy array


class ErrorLaw(Protocol):
    """Anything that predicts an error and knows how far off it usually is."""

    @property
    def sd(self) -> float:
        """Typical error of a prediction; networks closer than this are for a race to tell apart."""
        ...

    @property
    def source(self) -> str:
        """What it was fitted to."""
        ...

    def error(
        self, *, depth: Number, width: Number, resolution: Number, images: Number | None = None
    ) -> Number:
        """Top-1 error as a fraction, at these multipliers over the base and images seen."""
        ...


@dataclass(frozen=True)
class Term:
    """A x^-p: the error that is left because x is no larger."""

    A: float
    p: float

    def __post_init__(self) -> None:
        for name, value, holds in (("A", self.A, self.A >= 0), ("p", self.p, self.p > 0)):
            if not (holds and math.isfinite(value)):
                raise UsageError(
                    f"{name}={value} in a term A x^-p of an error law. "
                    "Use A of 0 or more and p above 0."
                )

    def __call__(self, x: Number) -> Number:
        return self.A * x**-self.p


@dataclass(frozen=True, kw_only=True)
class Law:
    """The additive law: a point estimate. Intervals will come from the spread over exponents."""

    e0: float
    depth: Term
    width: Term
    resolution: Term
    images: Term = Term(0.0, 1.0)
    images_unit: float = IMAGES_UNIT  # s = images seen / this many
    sd: float  # typical error of a prediction, a fraction like the rest
    source: str

    def __post_init__(self) -> None:
        for name, holds in (
            ("e0", self.e0 >= 0), ("sd", self.sd >= 0), ("images_unit", self.images_unit > 0)
        ):  # fmt: skip
            value = getattr(self, name)
            if not (holds and math.isfinite(value)):
                raise UsageError(
                    f"{name}={value} in an error law. Use a fraction such as 0.15 for "
                    "e0 and sd, a count such as 1e6 for images_unit."
                )

    def error(
        self, *, depth: Number, width: Number, resolution: Number, images: Number | None = None
    ) -> Number:
        """Floats or numpy arrays. `images=None`: trained to the end, the last term left out.

        Below the base the powers grow fast: the published law is within a point of TinyNet-A and B
        (arXiv:2010.14819), 5 points too dark for C and D, 14 for E. There it ranks, no more.
        """
        error = self.e0 + self.depth(depth) + self.width(width) + self.resolution(resolution)
        return error if images is None else error + self.images(images / self.images_unit)

    def optimum(self, compute: float) -> Scaling:
        """The least error with depth * width^2 * resolution^2 = `compute`, before any rounding.

        There every term buys the same for a unit of log-compute: p A x^-p = price * c, c = 1, 2, 2.
        """
        terms = ((self.depth, 1), (self.width, 2), (self.resolution, 2))
        if not (math.isfinite(compute) and compute > 0) or any(not term.A for term, _ in terms):
            raise UsageError(
                f"no optimum at compute={compute} of a law with A = "
                f"{[term.A for term, _ in terms]}. All of them must be above 0."
            )

        def logs(price: float) -> list[float]:
            return [(math.log(term.p * term.A / c) - price) / term.p for term, c in terms]

        low, high = -200.0, 200.0  # of the log of the price: dearer means smaller
        for _ in range(100):
            middle = (low + high) / 2
            spent = sum(c * x for (_, c), x in zip(terms, logs(middle), strict=True))
            low, high = (middle, high) if spent > math.log(compute) else (low, middle)
        depth, width, resolution = map(math.exp, logs(low))
        return Scaling(depth=depth, width=width, resolution=resolution)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, versioned: what `--law FILE` holds."""
        return {"phiscale_law": LAW_VERSION, **asdict(self)}

    def write(self, path: Path) -> None:
        """Writes the JSON that `read` reads."""
        write_json(path, self.to_dict())

    @staticmethod
    def from_dict(data: Any, where: str = "the law") -> Law:
        """The inverse of `to_dict`. Unknown or missing fields are errors, never ignored."""
        values = dict(data) if isinstance(data, Mapping) else {}
        version = values.pop("phiscale_law", None)
        if version != LAW_VERSION:
            raise UsageError(
                f"{where} has format {version!r}, not {LAW_VERSION}. "
                f'Write a JSON object with "phiscale_law": {LAW_VERSION}, as Law.write does.'
            )
        known = {field.name for field in fields(Law)}
        if wrong := sorted(values.keys() ^ known):
            raise UsageError(f"{where} lacks or does not know {wrong}. Give it {sorted(known)}.")
        terms = ("depth", "width", "resolution", "images")
        try:
            read: dict[str, Any] = {
                name: Term(float(values[name]["A"]), float(values[name]["p"])) for name in terms
            }
            numbers: dict[str, Any] = {
                name: float(values[name]) for name in ("e0", "images_unit", "sd")
            }
        except (TypeError, KeyError, ValueError):
            raise UsageError(
                f"{where} holds something else than numbers. "
                f'Each of {", ".join(terms)} is {{"A": 0.02, "p": 1.5}}; '
                "e0, images_unit and sd are numbers."
            ) from None
        return Law(**read, **numbers, source=str(values["source"]))

    @staticmethod
    def read(path: Path) -> Law:
        """Reads `--law FILE`."""
        return Law.from_dict(read_json(path), str(path))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One trained network, or the mean of `runs` equal ones, for a fit."""

    name: str = ""
    depth: float  # real blocks over the base's
    width: float
    resolution: float
    error: float  # fraction
    images_seen: float | None = None  # in training; None where all rows are trained to the end
    runs: float = 1.0


EXPONENTS = tuple(0.15 * (4 / 0.15) ** (i / 12) for i in range(13))
COARSE = EXPONENTS[::2]  # where a fourth term multiplies the cells
PRIOR_MEDIAN, PRIOR_SPREAD = 0.9, 0.8  # of an exponent: ln p ~ N(ln 0.9, 0.8^2)


def fit_law(
    rows: Iterable[Row],
    *,
    run_sd: float = 0.0025,
    source: str = "a fit",
) -> Law:
    """The law through measured errors, by variable projection; with its images term if every row
    says how many it saw.

    On a grid of exponents the best e0, A >= 0 are a linear problem, solved exactly. A cell of the
    grid weighs as likely as its residuals are under `run_sd` (run-to-run sd of an error) and the
    prior. The estimate takes the mean exponents, then solves for e0 and A once more: few rows do
    not pin an exponent down, and the best cell alone runs to the edge of the grid.
    Point estimate only: intervals, from the same weights, belong here as well.
    """
    import numpy as np

    rows = tuple(rows)
    names = _terms(rows)
    x = _columns(rows, names)
    error, runs = np.array([row.error for row in rows]), np.array([row.runs for row in rows])
    if len(rows) < 4:
        raise UsageError(
            f"{len(rows)} rows cannot fit a law of depth, width and resolution. "
            "Give at least 4: the base and one enlarged network in each dimension."
        )
    if not (
        np.isfinite(x).all() and (x > 0).all() and np.isfinite(error).all() and (runs > 0).all()
    ):
        raise UsageError(
            "a row holds a multiplier or a number of runs that is not above 0, or an "
            "error that is no number. Mend or drop that row."
        )
    for number, name in enumerate(names):
        if np.ptp(x[:, number]) < 1e-9:
            raise UsageError(
                f"all rows have {name} {x[0, number]:g}, so its term cannot be told. "
                f"Add a network of another {name}."
            )
    axes = [np.array(EXPONENTS if len(names) == 3 else COARSE)] * len(names)
    while True:
        grid = np.stack([axis.ravel() for axis in np.meshgrid(*axes)], axis=1)
        squares, _ = _project(x, error, runs, grid)
        log_odds = squares / (2 * run_sd**2) + np.sum(
            np.log(grid / PRIOR_MEDIAN) ** 2 / (2 * PRIOR_SPREAD**2), axis=1
        )
        weight = np.exp(log_odds.min() - log_odds)
        weight /= weight.sum()
        p, step = weight @ grid, axes[0][1] / axes[0][0]
        if 1 / np.sum(weight**2) > 8 or step < 1.01:
            break
        # many good rows put all the weight into a few cells: look between them
        least, most = (
            np.maximum(p / step**1.5, EXPONENTS[0]),
            np.minimum(p * step**1.5, EXPONENTS[-1]),
        )
        axes = [
            np.geomspace(low, high, len(axes[0])) for low, high in zip(least, most, strict=True)
        ]
    _, found = _project(x, error, runs, p[None])
    e0, *a = (float(value) for value in found[0])
    terms = {name: Term(A, float(q)) for name, A, q in zip(names, a, p, strict=True)}
    law = Law(e0=e0, **terms, sd=0.0, source=source)  # type: ignore[arg-type]
    return replace(law, sd=max(run_sd, _left_out_error(law, rows)))


def _terms(rows: Sequence[Row]) -> tuple[str, ...]:
    lengths = all(row.images_seen is not None for row in rows)
    return ("depth", "width", "resolution", *(["images"] if lengths else []))


def _columns(rows: Sequence[Row], names: Sequence[str]) -> Any:
    import numpy as np

    read = {"images": lambda row: row.images_seen / IMAGES_UNIT}
    return np.array(
        [[read[n](row) if n in read else getattr(row, n) for n in names] for row in rows],
        dtype=float,
    )


def _project(x: Any, y: Any, weight: Any, exponents: Any) -> tuple[Any, Any]:
    """Least squares y = c0 + sum_i c_i x_i^-p_i with c >= 0, for every row of `exponents` at once.

    Few columns: trying every set of those that are not 0 is exact. Returns the weighted squares
    left over and the coefficients, a row each.
    """
    import numpy as np

    cells, terms = exponents.shape
    root = np.sqrt(weight)[None, :, None]
    columns = root * np.concatenate(
        [np.ones((cells, len(y), 1)), x[None] ** -exponents[:, None, :]], axis=2
    )
    norm = np.linalg.norm(columns, axis=1)
    columns = columns / norm[:, None, :]
    target = root[0, :, 0] * y
    gram = columns.transpose(0, 2, 1) @ columns
    moment = np.einsum("cnk,n->ck", columns, target)
    best = np.full(cells, np.inf)
    found = np.zeros((cells, terms + 1))
    for size in range(1, terms + 2):
        for active in combinations(range(terms + 1), size):
            chosen = list(active)
            # the ridge only matters where two columns are the same
            square = gram[:, chosen][:, :, chosen] + 1e-10 * np.eye(size)
            solved = np.linalg.solve(square, moment[:, chosen, None])[..., 0]
            left = np.einsum("cnk,ck->cn", columns[:, :, chosen], solved) - target
            squares = np.sum(left**2, axis=1)
            better = (solved >= 0).all(axis=1) & (squares < best)
            best[better] = squares[better]
            found[better] = 0
            found[np.ix_(better.nonzero()[0], chosen)] = solved[better]
    return best, found / norm


def _left_out_error(law: Law, rows: Sequence[Row]) -> float:
    """Root mean square error on each row when the others set e0 and A (exponents kept)."""
    import numpy as np

    names = _terms(rows)
    p, x = np.array([[getattr(law, name).p for name in names]]), _columns(rows, names)
    error, runs = np.array([row.error for row in rows]), np.array([row.runs for row in rows])
    squares = 0.0
    for number in range(len(rows)):
        others = np.arange(len(rows)) != number
        _, (c, *_) = _project(x[others], error[others], runs[others], p)
        squares += float(c[0] + c[1:] @ x[number] ** -p[0] - error[number]) ** 2
    return math.sqrt(squares / len(rows))


def fit_lengths(
    rows: Iterable[tuple[float, float]], images_unit: float = IMAGES_UNIT
) -> tuple[float, Term]:
    """c and A s^-p from (images seen, error) of one network trained to several lengths.

    error = c + A s^-p with c, A >= 0 by least squares, p on a grid; seeds are pooled.
    """
    import numpy as np

    pairs = np.array(sorted(rows), dtype=float).reshape(-1, 2)
    if len(np.unique(pairs[:, 0])) < 3 or not (
        np.isfinite(pairs).all() and (pairs[:, 0] > 0).all()
    ):
        raise UsageError(
            f"{len(np.unique(pairs[:, 0]))} lengths of training cannot fit the images "
            "term. Give errors of one network at 3 lengths or more."
        )
    grid = np.geomspace(0.05, 3, 120)[:, None]
    seen = pairs[:, :1] / images_unit
    squares, found = _project(seen, pairs[:, 1], np.ones(len(pairs)), grid)
    best = int(squares.argmin())
    return float(found[best, 0]), Term(float(found[best, 1]), float(grid[best, 0]))
