"""How a run begins: its folder is taken, its newest checkpoint read, its network made."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from phiscale.errors import TrainingError
from phiscale.files import lock_folder
from phiscale.nn.network import build
from phiscale.training import transfer
from phiscale.training.checkpoint import load_newest
from phiscale.training.determinism import seeded
from phiscale.training.ema import Ema
from phiscale.training.optim import make_optimizer
from phiscale.training.parallel.processes import ProcessGroup
from phiscale.training.schedule import ema_cap
from phiscale.training.state import RunConfig, State
from phiscale.weights.adapt import adapt_weights
from phiscale.weights.metadata import ModelMetadata
from phiscale.weights.store import fill, read, read_metadata


def open_run(
    run: Path, config: RunConfig, group: ProcessGroup, stack: ExitStack
) -> dict[str, Any] | None:
    """The first process takes the folder, until `stack` ends, and reads its newest checkpoint; all
    get that, or what spoke against it."""
    group.barrier()  # listing images takes some longer than others
    if len(set(group.all_gather(config.digest()))) > 1:
        raise TrainingError(
            "the processes of this training see other data or were given other flags. Start all "
            "with one command, on the same data."
        )

    def taken() -> dict[str, Any] | None:
        stack.enter_context(lock_folder(run))
        config.begin_or_resume(run)
        return load_newest(run / "checkpoints", config.log)

    return group.run_on_rank0(taken)


def first_state(
    config: RunConfig,
    device: torch.device,
    total: int,
    run: Path,
    group: ProcessGroup,
    *,
    resumed: bool,
) -> State:
    """The state before the first step; what a checkpoint holds is loaded over it."""
    recipe, spec, images = config.recipe, config.spec, config.images
    with seeded(recipe.seed):
        network = build(spec, dropout=recipe.dropout, drop_path=recipe.drop_path)
    if config.start_from is not None:
        metadata, tensors = read(config.start_from)
        tensors = adapt_weights(
            tensors,
            metadata.spec,
            spec,
            network.state_dict(),
            new_head=metadata.classes != images.classes,
        )
        fill(network, tensors, config.start_from)
    network = network.to(device).to(memory_format=torch.channels_last)
    if config.start_from is not None:
        plan = group.run_on_rank0(
            lambda: transfer.prepare(
                network, recipe, images, config.preprocessing, device, run, resumed=resumed
            )
        )
        config.log(plan.summary())
        transfer.set_norm_policy(network, plan.norms)
        if not resumed and group.size > 1:
            here = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
            network.load_state_dict(group.broadcast(here))
    if frozen_blocks := transfer.freeze(network, recipe):
        config.log(
            f"the first {frozen_blocks} blocks are frozen: their share of the learning rate is "
            f"below {recipe.least_share:g}"
        )
    if recipe.precision == "fp64":
        network = network.double()
    ema = Ema(network, ema_cap(recipe, total // recipe.batch))
    scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
    return State(network, ema, make_optimizer(network, recipe.optim, recipe.layer_decay), scaler)


def metadata_for(config: RunConfig) -> ModelMetadata:
    """Of the weights that this run will leave; where a licence or a doubt may come from."""
    parent = read_metadata(config.start_from) if config.start_from else None
    before = f", starting from weights {parent.origin or 'of unknown origin'}" if parent else ""
    return ModelMetadata(
        spec=config.spec,
        preprocessing=config.preprocessing,
        classes=config.images.classes,
        recipe=config.recipe.to_dict(),
        licence=parent.licence if parent else "",
        origin=f"trained on {config.images.source}{before}",
    )
