"""Starts or resumes a run: locks its folder, reads its newest checkpoint, builds its state."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from phiscale.errors import TrainingError
from phiscale.files import lock_folder
from phiscale.files.run_files import CHECKPOINTS
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
from phiscale.weights.header import read_metadata
from phiscale.weights.metadata import ModelMetadata
from phiscale.weights.store import fill, read


def open_run(
    run: Path, config: RunConfig, group: ProcessGroup, stack: ExitStack
) -> dict[str, Any] | None:
    """Locks the folder of a run until `stack` ends, and returns its newest checkpoint, or None.

    Rank 0 does this; all processes get the checkpoint, or raise the error of rank 0. Raises
    TrainingError if the processes differ in data or recipe, CheckpointError if the folder holds
    another run or only damaged checkpoints.
    """
    group.barrier()  # some processes take longer to list the images
    if len(set(group.all_gather(config.digest()))) > 1:
        raise TrainingError(
            "the processes of this training have different data or different arguments. Start all "
            "of them with one command, on the same data."
        )

    def lock_and_load() -> dict[str, Any] | None:
        stack.enter_context(lock_folder(run))
        config.begin_or_resume(run)
        return load_newest(run / CHECKPOINTS, config.log)

    return group.run_on_rank0(lock_and_load)


def first_state(
    config: RunConfig,
    device: torch.device,
    total: int,
    run: Path,
    group: ProcessGroup,
    *,
    resumed: bool,
) -> State:
    """Builds the state before the first step. A checkpoint, if any, is loaded over it later."""
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
        if not resumed and group.size > 1:  # `prepare` has changed the network of rank 0 only
            weights = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
            network.load_state_dict(group.broadcast(weights))
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
    """Returns the metadata of this run's weights file.

    Licence and origin of pretrained weights are passed on.
    """
    parent = read_metadata(config.start_from) if config.start_from else None
    start = f", starting from weights {parent.origin or 'of unknown origin'}" if parent else ""
    return ModelMetadata(
        spec=config.spec,
        preprocessing=config.preprocessing,
        classes=config.images.classes,
        recipe=config.recipe.to_dict(),
        licence=parent.licence if parent else "",
        origin=f"trained on {config.images.source}{start}",
    )
