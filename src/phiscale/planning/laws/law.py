"""The law of depth, width, resolution and images seen as numbers: what `--law FILE` holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from phiscale.arch.scaling import Scaling
from phiscale.errors import UsageError
from phiscale.files import Format

EXPONENTS = tuple(0.15 * (4 / 0.15) ** (i / 12) for i in range(13))
COARSE = EXPONENTS[::2]  # where a fourth term multiplies the cells, or where speed counts
RUN_SD = 0.0025  # of an error on ImageNet, where nobody measured it

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
    """The additive law as a point estimate; how sure it is, `Posterior` knows."""

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
            ("e0", self.e0 >= 0),
            ("sd", self.sd >= 0),
            ("images_unit", self.images_unit > 0),
        ):
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
        return FORMAT.encode(self)

    def write(self, path: Path) -> None:
        """Writes the JSON that `read` reads."""
        FORMAT.write(path, self)

    @staticmethod
    def from_dict(data: Any, where: str = "the law") -> Law:
        """The inverse of `to_dict`. Unknown or missing fields are errors, never ignored."""
        own = isinstance(data, Mapping) and data.get(FORMAT.marker) == FORMAT.version
        if own and isinstance(data.get("terms"), Mapping):
            axes = ascii(", ".join(map(str, data["terms"])))[1:-1]
            raise UsageError(
                f"{where} is a law of {axes}. Fit one of depth, width and resolution: "
                "phiscale law fit TABLE --axes depth,width,resolution."
            )
        return FORMAT.decode(data, where)

    @staticmethod
    def read(path: Path) -> Law:
        """Reads `--law FILE`."""
        return Law.from_dict(FORMAT.payload(path), str(path))


FORMAT = Format(
    Law,
    "phiscale_law",
    UsageError,
    "Write one with phiscale law fit TABLE --out law.json.",
    foreign=("fit",),  # the rows it came from, which `laws.file` reads
)


@dataclass(frozen=True, kw_only=True)
class LawRow:
    """One trained network, or the mean of `runs` equal ones, for a fit."""

    name: str = ""
    depth: float  # real blocks over the base's
    width: float
    resolution: float
    error: float  # fraction
    images_seen: float | None = None  # in training; None where all rows are trained to the end
    runs: float = 1.0
