"""Writes two of src/phiscale/tables: pretrained.json, which weights of our members timm and
torchvision know and how their images are prepared; imagenet.json, the names of ImageNet's classes
(torchvision's) and their WordNet ids (timm's). Needs both (dev extra), no network.

    python benchmarks/pretrained_table.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torchvision
from timm.data.imagenet_info import ImageNetInfo
from torchvision import models

from phiscale.arch.families import MEMBERS
from phiscale.files import write_json
from phiscale.weights.aliases import member_of

TABLES = Path(__file__).parents[1] / "src" / "phiscale" / "planning" / "tables"


def of_timm() -> Iterator[dict[str, Any]]:
    for name in MEMBERS:
        tags = timm.list_pretrained(f"{name}.*") if timm.is_model(name) else []
        default = timm.get_pretrained_cfg(name) if tags else None
        for tag in sorted(tags, key=lambda tag: (tag != f"{name}.{default and default.tag}", tag)):
            known = timm.get_pretrained_cfg(tag)
            assert known is not None and known.mean and known.std
            pixels = (known.test_input_size or known.input_size)[-1]
            yield {
                "source": f"hf-hub:{known.hf_hub_id}",
                "member": name,
                "tag": tag.partition(".")[2],
                "pixels": pixels,
                "train_pixels": known.input_size[-1],
                "train_crop": known.crop_pct,
                "crop": known.test_crop_pct or known.crop_pct,
                "squash": known.crop_mode == "squash",
                "interpolation": known.interpolation,
                "mean": list(known.mean),
                "std": list(known.std),
                "classes": known.num_classes,
                "top1": None,
                "licence": known.license or "",
            }


def of_torchvision() -> Iterator[dict[str, Any]]:
    for theirs in models.list_models(module=models):
        member = member_of("torchvision", theirs)
        if member is None:
            continue
        every = models.get_model_weights(theirs)
        for weights in sorted(every, key=lambda w: w is not every.DEFAULT):
            transforms, meta = weights.transforms(), weights.meta
            crop, resize = transforms.crop_size[0], transforms.resize_size[0]
            yield {
                "source": f"torchvision:{theirs}.{weights.name}",
                "member": member,
                "tag": weights.name,
                "pixels": crop,
                "train_pixels": crop,
                "train_crop": round(crop / resize, 4),
                "crop": round(crop / resize, 4),
                "squash": False,
                "interpolation": transforms.interpolation.value,
                "mean": list(transforms.mean),
                "std": list(transforms.std),
                "classes": len(meta["categories"]),
                "top1": round(meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, 5),
                "licence": (meta.get("license") or "bsd-3-clause").rpartition("/")[2],
            }


def imagenet() -> dict[str, Any]:
    names = models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    return {"ids": ImageNetInfo("imagenet-1k").label_names(), "names": list(names)}


if __name__ == "__main__":
    versions = {"timm": timm.__version__, "torchvision": torchvision.__version__}
    made = {"command": "python benchmarks/pretrained_table.py", "versions": versions}
    write_json(TABLES / "imagenet.json", {**made, **imagenet()})
    write_json(TABLES / "pretrained.json", {**made, "rows": [*of_timm(), *of_torchvision()]})
