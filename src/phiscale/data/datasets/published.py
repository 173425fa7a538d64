"""The image sets that EfficientNet was transferred to, as we name them, and how they were split
(Tan and Le, arXiv:1905.11946 v5, table 6). What it reached there: `families.paper.TABLE_5`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from phiscale.arch.families.paper import TABLE_5


@dataclass(frozen=True)
class TransferDataset:
    """A set by its name in the paper, with its images and classes."""

    paper_name: str
    train: int
    test: int
    classes: int

    def summary(self) -> str:
        """What the paper's networks reached, pretrained on ImageNet and tuned on all of train."""
        own = [row for row in TABLE_5 if row.data == self.paper_name]
        each = " and ".join(f"{100 * row.top1:.1f} % with {row.member}" for row in own)
        return (
            f"the paper (arXiv:1905.11946, table 5) has {each} here, from ImageNet's weights, "
            f"on {self.test} test images"
        )

    def manual_steps(self, name: str, folder: str) -> str:
        """What to do where nobody offers the set for download any more."""
        return (
            f"'{name}' has no download any more. Ask its authors for it, put the images of each "
            f"class into '{folder}/train/CLASS' and '{folder}/test/CLASS' "
            f"({self.train} and {self.test} images, {self.classes} classes), and try again."
        )


TRANSFER_DATASETS: Mapping[str, TransferDataset] = {
    "cifar10": TransferDataset("CIFAR-10", 50000, 10000, 10),
    "cifar100": TransferDataset("CIFAR-100", 50000, 10000, 100),
    "birdsnap": TransferDataset("Birdsnap", 47386, 2443, 500),
    "stanford-cars": TransferDataset("Stanford Cars", 8144, 8041, 196),
    "flowers102": TransferDataset("Flowers", 2040, 6149, 102),
    "fgvc-aircraft": TransferDataset("FGVC Aircraft", 6667, 3333, 100),
    "oxford-pets": TransferDataset("Oxford-IIIT Pets", 3680, 3669, 37),  # the paper prints 3369
    "food101": TransferDataset("Food-101", 75750, 25250, 101),
}
