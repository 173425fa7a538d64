"""Writes src/phiscale/tables/pretrained.json: which pretrained weights of our members timm and
torchvision know, and how their pictures are prepared. Needs both (dev extra), no network.

    python benchmarks/pretrained_table.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
from torchvision import models

from phiscale.families import MEMBERS
from phiscale.files import write_json
from phiscale.weights.aliases import member_of

TABLE = Path(__file__).parents[1] / "src" / "phiscale" / "tables" / "pretrained.json"


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
            take, meta = weights.transforms(), weights.meta
            crop, resize = take.crop_size[0], take.resize_size[0]
            yield {
                "source": f"torchvision:{theirs}.{weights.name}",
                "member": member,
                "tag": weights.name,
                "pixels": crop,
                "crop": round(crop / resize, 4),
                "squash": False,
                "interpolation": take.interpolation.value,
                "mean": list(take.mean),
                "std": list(take.std),
                "classes": len(meta["categories"]),
                "top1": round(meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, 5),
                "licence": (meta.get("license") or "bsd-3-clause").rpartition("/")[2],
            }


if __name__ == "__main__":
    write_json(TABLE, {"command": "python benchmarks/pretrained_table.py",
                       "versions": {"timm": timm.__version__},
                       "rows": [*of_timm(), *of_torchvision()]})  # fmt: skip
