"""Half precision is of the arithmetic: weights, average and optimiser stay in float32."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.data.datasets.open import open_dataset
from phiscale.data.preprocessing import Preprocessing
from phiscale.nn.network import build
from phiscale.training.callbacks import Progress
from phiscale.training.ema import Ema
from phiscale.training.log import read_log
from phiscale.training.loop import MOST_OVERFLOWS, train, update_weights
from phiscale.training.optim import make_optimizer
from phiscale.training.recipes.recipe import Optim, Recipe
from phiscale.training.runtime import Runtime
from phiscale.training.state import State
from support.runs import newest_state

pytestmark = pytest.mark.usefixtures("one_thread")
SPEC = replace(scale(get_spec("small"), Scaling(depth=0.5, width=0.5)), resolution=8)
PREPROCESSING = Preprocessing(size=8, crop=1.0)
RECIPE = Recipe(epochs=0.4, batch=64, evaluations=1, optim=Optim(lr_peak=0.1))


def final_state(out: Path, precision: str, stop_at: int = 0) -> dict[str, Any]:
    class Stopped(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.images_seen == stop_at:
            raise Stopped

    runtime = Runtime(save_every_s=0, callbacks=[stop])
    recipe = replace(RECIPE, precision=precision)  # type: ignore[arg-type]
    arguments = (out, SPEC, open_dataset("digits"), recipe, PREPROCESSING)
    if stop_at:
        with pytest.raises(Stopped):
            train(*arguments, runtime)
        stop_at = 0
    train(*arguments, runtime)
    return newest_state(out)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_training_in_half_precision_is_near_the_exact_one_and_not_it(
    precision: str, tmp_path: Path
):
    half, whole = final_state(tmp_path / "half", precision), final_state(tmp_path / "whole", "fp32")
    for state in (half["network"], half["ema"], *half["optimizer"]["state"].values()):
        kinds = {t.dtype for t in state.values() if torch.is_tensor(t) and t.is_floating_point()}
        assert kinds == {torch.float32}
    losses = [
        [r["loss"] for r in read_log(tmp_path / name) if "loss" in r] for name in ("half", "whole")
    ]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=0.02) and losses[0] != losses[1]
    assert whole["scaler"] == {}
    assert bool(half["scaler"]) == (precision == "fp16")


def test_the_loss_scale_is_resumed_to_the_bit(tmp_path: Path):
    whole = final_state(tmp_path / "whole", "fp16")
    interrupted = final_state(tmp_path / "cut", "fp16", stop_at=256)
    assert whole["scaler"] == interrupted["scaler"]
    assert all(
        torch.equal(whole["network"][k], interrupted["network"][k]) for k in whole["network"]
    )  # type: ignore[index]


def test_an_overflow_skips_the_update_lowers_the_scale_and_in_the_end_stops():
    network = build(replace(SPEC, classes=4))
    scaler = torch.amp.GradScaler("cpu")
    optimizer = make_optimizer(network, Optim(lr_peak=0.1))
    state = State(network, Ema(network, 0.9), optimizer, scaler)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    scaler.scale(torch.zeros(()))  # sets it up
    first = scaler.get_scale()
    for number in range(MOST_OVERFLOWS + 1):
        for p in network.parameters():
            p.grad = torch.full_like(p, float("inf"))
        norm = update_weights(state, 1.0, 0.1, 0.0)
        assert (norm is None) == (number == MOST_OVERFLOWS)
    assert scaler.get_scale() < first and state.ema.updates == 0
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_an_infinite_gradient_stops_exact_training_before_the_update():
    network = build(replace(SPEC, classes=4))
    state = State(
        network,
        Ema(network, 0.9),
        make_optimizer(network, Optim(lr_peak=0.1)),
        torch.amp.GradScaler("cpu", enabled=False),
    )
    before = network.stem.conv.weight.clone()
    for p in network.parameters():
        p.grad = torch.full_like(p, float("nan"))
    assert update_weights(state, 1.0, 0.1, 0.0) is None
    assert torch.equal(network.stem.conv.weight, before)
