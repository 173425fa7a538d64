"""The law of depth, width, resolution and images seen as numbers, and its file `law.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from phiscale.arch.scaling import Scaling
from phiscale.errors import UsageError
from phiscale.files import Format

EXPONENTS = tuple(0.15 * (4 / 0.15) ** (i / 12) for i in range(13))
COARSE = EXPONENTS[::2]  # for a fourth term, which multiplies the cells, and for speed
RUN_SD = 0.0025  # of an error on ImageNet, where it was not measured
RUN_SD_RANGE = (1e-9, 1e9)  # beyond it, squares of a seed standard deviation overflow or vanish

IMAGES_UNIT = 1e6

Number = Any  # float or numpy array


class ErrorLaw(Protocol):
    """Anything that predicts an error and states how far off it usually is."""

    @property
    def sd(self) -> float:
        """Returns the typical error of a prediction, a fraction. Closer networks are tied."""
        ...

    @property
    def source(self) -> str:
        """Returns the data that it was fitted to."""
        ...

    def error(
        self, *, depth: Number, width: Number, resolution: Number, images: Number | None = None
    ) -> Number:
        """Predicts the top-1 error, a fraction, at multipliers over the base and images seen."""
        ...


@dataclass(frozen=True)
class Term:
    """A x^-p: the error that remains because x is finite."""

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
    """The additive law as a point estimate. `Posterior` adds how certain it is.

    `Law.read("law.json")` reads one, `estimate_law(rows)` fits one.
    """

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
        """Predicts the top-1 error, a fraction: floats or numpy arrays.

        `images=None`: trained to the end, so the last term is left out. Below the base the powers
        grow fast: the published law is within a point of TinyNet-A and B (arXiv:2010.14819), but 5
        points too pessimistic for C and D and 14 for E. There it only ranks networks.
        """
        error = self.e0 + self.depth(depth) + self.width(width) + self.resolution(resolution)
        return error if images is None else error + self.images(images / self.images_unit)

    def optimum(self, compute_ratio: float) -> Scaling:
        """Returns the scaling of least error with depth * width^2 * resolution^2 = `compute_ratio`.

        It is not rounded. At the optimum every term gains the same g from a unit of log-compute:
        p A x^-p = g c with c = 1, 2, 2. UsageError: an A is 0.
        """
        terms = ((self.depth, 1), (self.width, 2), (self.resolution, 2))
        if not (math.isfinite(compute_ratio) and compute_ratio > 0) or any(
            not term.A for term, _ in terms
        ):
            raise UsageError(
                f"compute_ratio={compute_ratio} has no optimum in a law with A = "
                f"{[term.A for term, _ in terms]}. Use values above 0."
            )

        def logs(log_gain: float) -> list[float]:
            return [(math.log(term.p * term.A / c) - log_gain) / term.p for term, c in terms]

        low, high = -200.0, 200.0  # of ln g: a higher one means smaller networks
        for _ in range(100):
            middle = (low + high) / 2
            log_compute = sum(c * x for (_, c), x in zip(terms, logs(middle), strict=True))
            low, high = (middle, high) if log_compute > math.log(compute_ratio) else (low, middle)
        depth, width, resolution = map(math.exp, logs(low))
        return Scaling(depth=depth, width=width, resolution=resolution)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data, versioned: the content of `law.json`."""
        return FORMAT.encode(self)

    def write(self, path: Path) -> None:
        """Writes `law.json`."""
        FORMAT.write(path, self)

    @staticmethod
    def from_dict(data: Any, where: str = "the law") -> Law:
        """Returns the law of what `to_dict` gave. UsageError: a field is unknown or missing."""
        if other := _other_axes(data):
            axes = ascii(", ".join(other))[1:-1]
            raise UsageError(
                f"{where} is a law of {axes}. Fit one of depth, width and resolution: "
                "phiscale law fit TABLE --axes depth,width,resolution."
            )
        return FORMAT.decode(data, where)

    @staticmethod
    def read(path: Path | str) -> Law:
        """Reads `law.json`. UsageError: the file holds no such law."""
        return Law.from_dict(FORMAT.payload(Path(path)), str(path))


def require_run_sd(run_sd: float) -> float:
    """Returns a seed standard deviation. UsageError: no fit can use it."""
    least, most = RUN_SD_RANGE
    if not least <= run_sd <= most:
        raise UsageError(
            f"run_sd={run_sd} is not a seed standard deviation of an error. "
            "Use a fraction such as 0.0025."
        )
    return run_sd


FORMAT = Format(
    Law,
    "phiscale_law",
    UsageError,
    "Write one with phiscale law fit TABLE --out law.json.",
    foreign=("fit",),  # the rows it came from, which `laws.file` reads
)


def _other_axes(data: Any) -> list[str]:
    """Returns the axes of a law of other axes, as `FittedLaw` writes it; else none."""
    if not isinstance(data, Mapping):
        return []
    fields = cast(Mapping[str, Any], data)
    terms = fields.get("terms")
    if fields.get(FORMAT.marker) != FORMAT.version or not isinstance(terms, Mapping):
        return []
    return [str(axis) for axis in cast(Mapping[str, Any], terms)]


@dataclass(frozen=True, kw_only=True)
class LawRow:
    """A trained network, or the mean of `runs` equal ones, to fit a law to."""

    name: str = ""
    depth: float  # blocks over the base's, as built
    width: float
    resolution: float
    error: float  # fraction
    images_seen: float | None = None  # in training; None if all rows are trained to the end
    runs: float = 1.0
