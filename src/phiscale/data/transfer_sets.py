"""The image sets that EfficientNet was transferred to, with what it reached there (Tan and Le,
arXiv:1905.11946 v5, tables 5 and 6): pretrained on ImageNet, then fine-tuned on all of train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Transferred:
    """One row: pictures, and (member, top-1) of the smaller and of the best network."""

    train: int
    test: int
    classes: int
    smaller: tuple[str, float]
    best: tuple[str, float]

    def words(self) -> str:
        (small, small_top1), (best, best_top1) = self.smaller, self.best
        return (
            f"the paper (arXiv:1905.11946, table 5) has {100 * small_top1:.1f} % with {small} and "
            f"{100 * best_top1:.1f} % with {best} here, from ImageNet's weights, on {self.test} "
            "test pictures"
        )

    def by_hand(self, name: str, folder: str) -> str:
        """What to do where nobody offers the set for download any more."""
        return (
            f"'{name}' has no download any more. Ask its authors for it, put the pictures of each "
            f"class into '{folder}/train/CLASS' and '{folder}/test/CLASS' "
            f"({self.train} and {self.test} pictures, {self.classes} classes), and try again."
        )


TRANSFERRED: Mapping[str, Transferred] = {
    "cifar10": Transferred(50000, 10000, 10, ("B0", 0.981), ("B7", 0.989)),
    "cifar100": Transferred(50000, 10000, 100, ("B0", 0.881), ("B7", 0.917)),
    "birdsnap": Transferred(47386, 2443, 500, ("B5", 0.820), ("B7", 0.843)),
    "stanford-cars": Transferred(8144, 8041, 196, ("B3", 0.936), ("B7", 0.947)),
    "flowers102": Transferred(2040, 6149, 102, ("B5", 0.985), ("B7", 0.988)),
    "fgvc-aircraft": Transferred(6667, 3333, 100, ("B3", 0.907), ("B7", 0.929)),
    # the paper prints 3369 test pictures; the set has 3669
    "oxford-pets": Transferred(3680, 3669, 37, ("B4", 0.948), ("B6", 0.954)),
    "food101": Transferred(75750, 25250, 101, ("B4", 0.915), ("B7", 0.930)),
}
