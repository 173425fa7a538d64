"""From pretrained weights: the probe, the rates of the layers, batch norms, stopping early."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.cli.output import log_to
from phiscale.data.datasets.dataset import ArraySplit, ImageSet, Split
from phiscale.data.datasets.open import open_dataset
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import UsageError
from phiscale.nn.network import build
from phiscale.nn.norm import BatchNorm2d
from phiscale.training.callbacks import Progress
from phiscale.training.log import read_log
from phiscale.training.loop import train
from phiscale.training.optim import LR_SCALE, make_optimizer
from phiscale.training.recipes.recipe import Growth, Optim, Recipe
from phiscale.training.recipes.table import RECIPES, finetune_for
from phiscale.training.runtime import Runtime
from phiscale.weights.sources import load
from phiscale.weights.store import read, save

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = replace(scale(get_spec("small"), Scaling(depth=0.5)), resolution=16)
PREPROCESSING = Preprocessing(size=16, crop=1.0)
SCRATCH = replace(RECIPES["characters"], epochs=4, evaluations=1)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that tells low digits apart."""
    return train(
        tmp_path_factory.mktemp("pretrained") / "run",
        SPEC,
        low_and_high()[0],
        SCRATCH,
        PREPROCESSING,
        Runtime(),
    )


def low_and_high() -> tuple[ImageSet, ImageSet]:
    """Digits 0 to 4, and 5 to 9 under labels 0 to 4."""
    whole = open_dataset("digits")

    def part(least: int) -> ImageSet:
        def select(split: Split) -> Split:
            selected = split.subset(
                np.flatnonzero((split.labels >= least) & (split.labels < least + 5))
            )
            return replace(selected, labels=selected.labels - least)

        return replace(
            whole,
            classes=tuple(map(str, range(least, least + 5))),
            train=select(whole.train),
            validation=select(whole.validation),
            test=select(whole.test),
        )

    return part(0), part(5)


HIGH = low_and_high()[1]
SPEC = replace(SPEC, classes=5)


def run(out: Path, recipe: Recipe, start: Path, images: ImageSet = HIGH) -> list[str]:
    messages: list[str] = []
    with log_to(messages.append):
        train(out, SPEC, images, recipe, PREPROCESSING, Runtime(), start_from=start)
    return messages


def test_a_probe_finds_the_best_classifier_and_leaves_the_body_alone(
    pretrained: Path, tmp_path: Path
):
    messages = run(tmp_path / "run", RECIPES["probe"], pretrained)
    before, after = read(pretrained)[1], read(tmp_path / "run" / "best.safetensors")[1]
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == {"classifier.weight", "classifier.bias"}
    plan = json.loads((tmp_path / "run" / "transfer.json").read_text())
    measured = [r["validation_top1"] for r in read_log(tmp_path / "run") if "validation_top1" in r]
    assert measured == [pytest.approx(plan["validation_top1"])] and measured[0] > 0.8
    assert "linear probe: validation top-1" in messages[0]
    assert "keep their statistics" in messages[0]


def test_fine_tuning_begins_with_the_probe_and_gets_better(pretrained: Path, tmp_path: Path):
    recipe = replace(RECIPES["finetune"], epochs=3, evaluations=3, growth=Growth(), batch=64)
    recipe = replace(recipe, augment=replace(SCRATCH.augment), optim=Optim(lr_peak=0.05))
    run(tmp_path / "run", recipe, pretrained)
    plan = json.loads((tmp_path / "run" / "transfer.json").read_text())
    best = load(tmp_path / "run").metadata.metrics["validation"]["top1"]
    assert best > plan["validation_top1"]


def test_fine_tuning_never_ends_with_less_than_its_probe(pretrained: Path, tmp_path: Path):
    destructive = Optim(lr_peak=5.0)
    recipe = replace(RECIPES["finetune"], epochs=0.5, evaluations=2, optim=destructive, batch=64)
    run(tmp_path / "run", recipe, pretrained)
    evaluations = [r for r in read_log(tmp_path / "run") if "validation_top1" in r]
    plan = json.loads((tmp_path / "run" / "transfer.json").read_text())
    assert evaluations[0]["images_seen"] == 0
    assert evaluations[-1]["validation_top1"] < evaluations[0]["validation_top1"]
    metrics = load(tmp_path / "run").metadata.metrics["validation"]
    assert metrics["images_seen"] == 0
    assert metrics["top1"] == pytest.approx(plan["validation_top1"], abs=0.01)


def test_a_fine_tuned_network_records_its_licence_and_origin(pretrained: Path, tmp_path: Path):
    metadata, tensors = read(pretrained)
    save(tmp_path / "parent.safetensors", tensors, replace(metadata, licence="cc-by-nc-4.0"))
    run(tmp_path / "run", replace(SCRATCH, epochs=0.2), tmp_path / "parent.safetensors")
    metadata_after = load(tmp_path / "run").metadata
    assert metadata_after.licence == "cc-by-nc-4.0"
    assert metadata_after.origin == "trained on digits, starting from weights trained on digits"


def test_layers_far_from_the_classifier_learn_slower():
    network = build(get_spec("small"))
    shares = {}
    for group in make_optimizer(network, Optim(name="muon"), 0.5).param_groups:
        shares |= {id(p): group[LR_SCALE] for p in group["params"]}
    share = {name: shares[id(p)] for name, p in network.named_parameters()}
    assert share["classifier.bias"] == 1 and share["head.conv.weight"] == 0.5
    assert share["stages.4.1.project.conv.weight"] == 0.25
    assert share["stages.4.0.expand.norm.bias"] == 0.125
    assert share["stem.conv.weight"] == 0.5 ** (network.spec.blocks + 2)
    assert len(share) == len(list(network.parameters()))


def test_blocks_with_hardly_a_share_of_the_rate_stay_as_they_are(pretrained: Path, tmp_path: Path):
    recipe = replace(SCRATCH, epochs=0.5, layer_decay=0.5, least_share=0.2, lanes=2)
    messages = run(tmp_path / "run", recipe, pretrained)
    before, after = read(pretrained)[1], read(tmp_path / "run" / "best.safetensors")[1]
    moved = {
        name.rsplit(".", 2)[0] for name in before if not torch.equal(before[name], after[name])
    }
    assert {name.partition(".")[0] for name in moved} == {"stages", "head", "classifier"}
    last = f"stages.{len(SPEC.stages) - 1}."
    assert all(name.startswith(last) for name in moved if name.startswith("stages"))
    assert "blocks are frozen" in messages[-1]


def test_a_tuning_on_two_lanes_that_was_stopped_ends_to_the_bit_the_same(
    pretrained: Path, tmp_path: Path
):
    recipe = replace(RECIPES["finetune"], epochs=1, evaluations=2, lanes=2, least_share=0.5)
    run(tmp_path / "whole", recipe, pretrained)

    class Killed(Exception):
        pass

    def kill(progress: Progress) -> None:
        if progress.images_seen >= 200:
            raise Killed

    with pytest.raises(Killed):
        runtime = Runtime(save_every_s=0, callbacks=[kill])
        train(tmp_path / "cut", SPEC, HIGH, recipe, PREPROCESSING, runtime, start_from=pretrained)
    run(tmp_path / "cut", recipe, pretrained)
    whole, cut = (read(tmp_path / name / "best.safetensors")[1] for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


@pytest.mark.parametrize(
    ("norms", "batch", "inverted", "expected"),
    [
        ("train", 8, False, "train"),
        ("frozen", 64, False, "frozen"),
        ("reestimated", 64, False, "reestimated"),
        ("auto", 64, True, "train"),
        ("auto", 16, False, "frozen"),
        ("auto", 16, True, "reestimated"),
    ],
)
def test_the_batch_norm_policy_follows_from_batch_size_and_distance_of_the_images(
    norms: str, batch: int, inverted: bool, expected: str, pretrained: Path, tmp_path: Path
):
    images = low_and_high()[0]
    train_split = images.train
    assert isinstance(train_split, ArraySplit)
    if inverted:
        images = replace(images, train=replace(train_split, pixels=255 - train_split.pixels))
    recipe = replace(SCRATCH, norms=norms, batch=batch, epochs=0.1, optim=Optim(lr_peak=1e-4))
    messages = run(tmp_path / "run", recipe, pretrained, images)
    plan = json.loads((tmp_path / "run" / "transfer.json").read_text())
    assert plan["norms"] == expected and messages
    before, after = read(pretrained)[1], read(tmp_path / "run" / "best.safetensors")[1]
    mean = "stages.0.0.depthwise.norm.running_mean"
    assert torch.allclose(before[mean], after[mean]) == (expected == "frozen")


def test_a_frozen_batch_norm_has_one_output_in_both_modes_and_still_learns_its_weights():
    norm = BatchNorm2d(3)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
        for buffer, low, high in ((norm.running_mean, -1, 1), (norm.running_var, 0.5, 2)):
            assert buffer is not None
            buffer.uniform_(low, high)
    x = torch.randn(4, 3, 5, 5)
    expected = norm.eval()(x)
    norm.frozen = True
    norm.train()
    assert torch.equal(norm(x), expected)
    norm(x).sum().backward()
    assert norm.weight.grad is not None


def test_training_ends_when_nothing_gets_better_and_stays_ended(pretrained: Path, tmp_path: Path):
    recipe = replace(
        SCRATCH,
        epochs=4,
        evaluations=16,
        patience=2,
        head="probe",
        norms="frozen",
        optim=Optim(lr_peak=1e-9),
    )
    messages = run(tmp_path / "run", recipe, pretrained)
    assert "stopped early" in messages[-1]
    seen = [r["images_seen"] for r in read_log(tmp_path / "run") if "validation_top1" in r]
    assert len(seen) == 3 and seen[-1] < recipe.images(len(HIGH.train))
    run(tmp_path / "run", recipe, pretrained)
    again = [r["images_seen"] for r in read_log(tmp_path / "run") if "validation_top1" in r]
    assert again == seen


@pytest.mark.parametrize("recipe", [RECIPES["probe"], RECIPES["finetune"]])
def test_recipes_that_build_on_weights_ask_for_some(recipe: Recipe, tmp_path: Path):
    with pytest.raises(UsageError, match=r"Add `pretrained`"):
        train(tmp_path / "run", SPEC, HIGH, recipe, PREPROCESSING)
    assert not (tmp_path / "run" / "recipe.json").exists()


@pytest.mark.parametrize(
    ("images", "name"), [(12, "finetune-few"), (270, "finetune"), (5000, "finetune-many")]
)
def test_the_fine_tuning_recipe_depends_on_images_per_class(images: float, name: str):
    assert finetune_for(images) == name and name in RECIPES
