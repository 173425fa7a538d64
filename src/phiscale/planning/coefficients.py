"""Found coefficients as a value: `found.json`, which a search writes and the product takes.

Wherever phi is taken, a found.json puts them in the place of 1.2, 1.1 and 1.15.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phiscale.arch.families import MEMBERS, bare
from phiscale.arch.scaling import Scaling, compound
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.files import Format
from phiscale.planning.laws import Law

NAMES = ("alpha", "beta", "gamma")
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """depth = alpha^phi, width = beta^phi, resolution = gamma^phi (arXiv:1905.11946, eq. 3), and
    how the three were found. Raises UsageError for numbers that scale nothing."""

    alpha: float
    beta: float
    gamma: float
    intervals: Mapping[str, Interval] | None = None  # of alpha, beta, gamma, at 95 %
    cost: str = "macs"  # what about doubles with every phi
    base: str | Spec = ""  # what was scaled: a SPEC as typed, or the network itself
    data: str = ""  # the set that the trainings were on
    method: str = "given"  # lawscale, grid, ...
    law: Law | None = None  # of the errors of `base` scaled
    source: str = ""  # the command, or whose figures they are
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Notes of a search."""

    def __post_init__(self) -> None:
        for name in NAMES:
            _positive(name, getattr(self, name))
        if not self.growth > 1:
            raise UsageError(
                f"alpha * beta^2 * gamma^2 = {self.growth:.4g} lets no network grow with phi. "
                "Give coefficients whose product is above 1; the paper's is 1.92."
            )
        for name, interval in (self.intervals or {}).items():
            if name not in NAMES:
                raise UsageError(f"an interval of {name!r}. Give those of alpha, beta and gamma.")
            low, high = (_positive(f"an end of {name}'s interval", end) for end in interval)
            if low > high:
                raise UsageError(f"{name}'s interval [{low}, {high}] is empty. Swap its ends.")

    @property
    def powers(self) -> dict[str, float]:
        """For `compound(phi, **found.powers)`."""
        return {name: getattr(self, name) for name in NAMES}

    @property
    def growth(self) -> float:
        """MACs for one more phi by the paper's approximation, alpha * beta^2 * gamma^2."""
        return self.alpha * self.beta**2 * self.gamma**2

    def at(self, phi: float) -> Scaling:
        """The multipliers at phi: any real number; 0 is the base."""
        return compound(phi, **self.powers)

    def law_over(self, base: Spec) -> Law | None:
        """Its law, if its multipliers are over `base`, whatever the classes. Of another network, or
        of the same at other pixels, it says nothing. A file that names no base is taken at its
        word."""
        own = self.base
        if isinstance(own, str) and own in MEMBERS:
            own = MEMBERS[own].spec
        same = bare(own) == bare(base) if isinstance(own, Spec) else not own
        return self.law if same else None

    def summary(self) -> str:
        """1.2^phi, 1.1^phi, 1.15^phi (lawscale, small on cifar10)."""
        base = self.base
        if isinstance(base, Spec):
            base = f"a network of {base.blocks} blocks"
        where = " on ".join(filter(None, (base, self.data)))
        how = ", ".join(filter(None, (self.method, where)))
        return f"{', '.join(f'{power:.4g}^phi' for power in self.powers.values())} ({how})"

    def row(self) -> dict[str, str]:
        """alpha, beta and gamma for a table, each with its interval if it has one."""
        ends = {
            name: f" [{low:.2f}, {high:.2f}]"
            for name, (low, high) in (self.intervals or {}).items()
        }
        return {name: f"{value:.3f}{ends.get(name, '')}" for name, value in self.powers.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, complete and versioned: what `found.json` holds."""
        return FORMAT.encode(self)

    def write(self, path: Path) -> None:
        """Writes `found.json`, whole or not at all."""
        FORMAT.write(path, self)

    @staticmethod
    def from_dict(data: Any, where: str = "the coefficients") -> Coefficients:
        """The inverse of `to_dict`. Only the version and the three numbers have to be there;
        unknown fields are errors, never ignored. Raises UsageError, which names `where`."""
        return FORMAT.decode(data, where)

    @staticmethod
    def read(path: Path | str) -> Coefficients:
        """Reads a found.json."""
        return FORMAT.read(Path(path))


FORMAT = Format(
    Coefficients,
    "phiscale_coefficients",
    UsageError,
    'Write "phiscale_coefficients": 1, "alpha", "beta" and "gamma"; anything of your own belongs '
    'into "extra".',
    by_hand=True,
)


def _positive(name: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and 0 < value < 100):
        raise UsageError(f"{name} is {value!r}, not between 0 and 100. Use a number such as 1.2.")
    return value
