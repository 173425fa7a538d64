"""How a run begins: its folder is taken, its newest checkpoint read, its network made."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from phiscale.errors import TrainingError
from phiscale.files import locked
from phiscale.nn.network import build
from phiscale.training import transfer
from phiscale.training.checkpoint import load_newest
from phiscale.training.ema import Ema
from phiscale.training.optim import make_optimizer
from phiscale.training.parallel.processes import World
from phiscale.training.schedule import ema_cap
from phiscale.training.state import About, State
from phiscale.weights.adapt import adapted
from phiscale.weights.metadata import ModelMetadata
from phiscale.weights.store import fill, read, read_metadata


def open_run(run: Path, about: About, world: World, stack: ExitStack) -> dict[str, Any] | None:
    """The first process takes the folder, until `stack` ends, and reads its newest checkpoint; all
    get that, or what spoke against it."""
    world.meet()  # listing pictures takes some longer than others
    if len(set(world.all(about.digest()))) > 1:
        raise TrainingError(
            "the processes of this training see other data or were given other flags. Start all "
            "with one command, on the same data."
        )

    def taken() -> dict[str, Any] | None:
        stack.enter_context(locked(run))
        about.claim(run)
        return load_newest(run / "checkpoints", about.log)

    return world.of_first(taken)


def first_state(
    about: About,
    device: torch.device,
    total: int,
    run: Path,
    world: World,
    *,
    resumed: bool,
) -> State:
    """The state before the first step; what a checkpoint holds is loaded over it."""
    recipe, spec, images = about.recipe, about.spec, about.images
    torch.manual_seed(recipe.seed)
    network = build(spec, dropout=recipe.dropout, drop_path=recipe.drop_path)
    if about.start_from is not None:
        metadata, tensors = read(about.start_from)
        tensors = adapted(
            tensors,
            metadata.spec,
            spec,
            network.state_dict(),
            new_head=metadata.classes != images.classes,
        )
        fill(network, tensors, about.start_from)
    network = network.to(device).to(memory_format=torch.channels_last)
    if about.start_from is not None:
        begun = world.of_first(
            lambda: transfer.begin(
                network, recipe, images, about.preprocessing, device, run, resumed=resumed
            )
        )
        about.log(begun.words())
        transfer.apply(network, begun.norms)
        if not resumed and world.size > 1:
            here = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
            network.load_state_dict(world.same(here))
    if still := transfer.freeze(network, recipe):
        about.log(
            f"the first {still} blocks learn nothing: less than {recipe.least_share:g} of the rate"
        )
    if recipe.precision == "fp64":
        network = network.double()
    ema = Ema(network, ema_cap(recipe, total // recipe.batch))
    scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
    return State(network, ema, make_optimizer(network, recipe.optim, recipe.layer_decay), scaler)


def metadata_for(about: About) -> ModelMetadata:
    """Of the weights that this run will leave; where a licence or a doubt may come from."""
    parent = read_metadata(about.start_from) if about.start_from else None
    before = f", starting from weights {parent.origin or 'of unknown origin'}" if parent else ""
    return ModelMetadata(
        spec=about.spec,
        preprocessing=about.preprocessing,
        classes=about.images.classes,
        recipe=about.recipe.to_dict(),
        licence=parent.licence if parent else "",
        origin=f"trained on {about.images.source}{before}",
    )
