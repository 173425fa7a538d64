"""Coefficients of compound scaling, and their file `found.json`, which a search writes.

Wherever a phi scales a network, they replace the paper's 1.2, 1.1 and 1.15.
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
from phiscale.files.values import is_number
from phiscale.planning.laws import Law

NAMES = ("alpha", "beta", "gamma")
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """Coefficients of compound scaling and where they come from.

    depth = alpha^phi, width = beta^phi, resolution = gamma^phi (arXiv:1905.11946, eq. 3).
    UsageError: no network grows by these coefficients.
    """

    alpha: float
    beta: float
    gamma: float
    intervals: Mapping[str, Interval] | None = None  # of alpha, beta, gamma, at 95 %
    cost: str = "macs"  # the metric that about doubles with every phi
    base: str | Spec = ""  # the network that was scaled: its name or file, or its spec
    data: str = ""  # the image set of the trainings
    method: str = "given"  # lawscale, grid, ...
    law: Law | None = None  # predicts the errors of scalings of `base`
    source: str = ""  # the command, or the publication
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Notes of a search."""

    def __post_init__(self) -> None:
        for name in NAMES:
            _positive(name, getattr(self, name))
        if not self.growth > 1:
            raise UsageError(
                f"alpha * beta^2 * gamma^2 = {self.growth:.4g}, so no network grows with phi. "
                "Use coefficients that make it more than 1; the paper's make it 1.92."
            )
        for name, interval in (self.intervals or {}).items():
            if name not in NAMES:
                raise UsageError(f"intervals has {name!r}. Use alpha, beta and gamma.")
            low, high = (_positive(f"an end of {name}'s interval", end) for end in interval)
            if low > high:
                raise UsageError(f"{name}'s interval [{low}, {high}] is empty. Swap its ends.")

    @property
    def powers(self) -> dict[str, float]:
        """Returns alpha, beta and gamma by name, for `compound(phi, **coefficients.powers)`."""
        return {name: getattr(self, name) for name in NAMES}

    @property
    def growth(self) -> float:
        """Returns the factor of MACs for one more phi, by the paper's alpha * beta^2 * gamma^2."""
        return self.alpha * self.beta**2 * self.gamma**2

    def at(self, phi: float) -> Scaling:
        """Returns the multipliers at phi: any real number; 0 is the base."""
        return compound(phi, **self.powers)

    def law_over(self, base: Spec) -> Law | None:
        """Returns the law, if its multipliers are over `base`, whose classes may differ; else None.

        It says nothing about another network, or about the same one at other pixels. Coefficients
        that name no base are used for any.
        """
        scaled = self.base
        if isinstance(scaled, str) and scaled in MEMBERS:
            scaled = MEMBERS[scaled].spec
        same = bare(scaled) == bare(base) if isinstance(scaled, Spec) else not scaled
        return self.law if same else None

    def summary(self) -> str:
        """Returns a text such as: 1.2^phi, 1.1^phi, 1.15^phi (lawscale, small on cifar10)."""
        base = self.base
        if isinstance(base, Spec):
            base = f"a network of {base.blocks} blocks"
        where = " on ".join(filter(None, (base, self.data)))
        how = ", ".join(filter(None, (self.method, where)))
        return f"{', '.join(f'{power:.4g}^phi' for power in self.powers.values())} ({how})"

    def row(self) -> dict[str, str]:
        """Returns alpha, beta and gamma for a table, each with its interval if it has one."""
        ends = {
            name: f" [{low:.2f}, {high:.2f}]"
            for name, (low, high) in (self.intervals or {}).items()
        }
        return {name: f"{value:.3f}{ends.get(name, '')}" for name, value in self.powers.items()}

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data, complete and versioned: the content of `found.json`."""
        return FORMAT.encode(self)

    def write(self, path: Path) -> None:
        """Writes `found.json`, whole or not at all."""
        FORMAT.write(path, self)

    @staticmethod
    def from_dict(data: Any, where: str = "the coefficients") -> Coefficients:
        """Returns the coefficients of what `to_dict` gave. `where` names the source in messages.

        Only the version and the three numbers are required.
        UsageError: a field is unknown, missing or wrong.
        """
        return FORMAT.decode(data, where)

    @staticmethod
    def read(path: Path | str) -> Coefficients:
        """Reads `found.json`. UsageError: the file holds no coefficients."""
        return FORMAT.read(Path(path))


FORMAT = Format(
    Coefficients,
    "phiscale_coefficients",
    UsageError,
    'Write "phiscale_coefficients": 1, "alpha", "beta" and "gamma"; put notes into "extra".',
    by_hand=True,
)


def _positive(name: str, value: Any) -> float:
    if not (is_number(value) and 0 < value < 100):
        raise UsageError(f"{name} is {value!r}, not between 0 and 100. Use a number such as 1.2.")
    return value
