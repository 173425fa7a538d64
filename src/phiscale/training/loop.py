"""The training loop: forward, backward, clip, update, EMA.

Learning rate, growth, evaluations and the end of the training depend on the images seen only, never
on time. Time only decides when checkpoints are saved.

Beside this file: `state.py` (what a checkpoint holds), `objective.py` (the loss), `optim.py`,
`ema.py`, `schedule.py`, and `parallel/README.md` (processes, lanes, micro-batches).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch
from torch import nn

from phiscale.arch.spec import Spec
from phiscale.data.datasets.dataset import ImageSet
from phiscale.data.loader import (
    CACHE_BYTES,
    Batch,
    ImageCache,
    TrainingBatchPlan,
    training_batches,
)
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import TrainingError, is_out_of_memory
from phiscale.files.run_files import WEIGHTS
from phiscale.training.determinism import deterministic_kernels
from phiscale.training.length import TrainingLength
from phiscale.training.log import Log, Meter
from phiscale.training.objective import Objective, class_weights, make_objective
from phiscale.training.optim import LR_SCALE
from phiscale.training.ownership import own_process
from phiscale.training.parallel.processes import ProcessGroup, init_distributed
from phiscale.training.parallel.replicas import Replicas
from phiscale.training.recipes.recipe import Recipe
from phiscale.training.reporting import Reporter
from phiscale.training.resume import first_state, open_run
from phiscale.training.runtime import Runtime
from phiscale.training.saving import Saver
from phiscale.training.schedule import learning_rate
from phiscale.training.signals import StopSignal
from phiscale.training.state import RunConfig, State
from phiscale.training.trackers import TensorBoard
from phiscale.training.transfer import check_start
from phiscale.training.validation import Validator

MOST_OVERFLOWS = 50  # updates in a row that fp16 may skip while its loss scale falls


def train(
    run: Path,
    spec: Spec,
    images: ImageSet,
    recipe: Recipe,
    preprocessing: Preprocessing,
    runtime: Runtime | None = None,
    *,
    start_from: Path | None = None,
) -> Path:
    """Trains a network into the folder `run`; returns the path of its best weights.

    Called again with the same arguments it resumes, bit for bit as if it had never stopped (on the
    same machine with the same number of threads; on a GPU with `Runtime(deterministic=True)`).
    `start_from`: a weights file for the start; the
    network gets a new classifier if the class names differ. Under torchrun every process makes the
    same call.

    Nothing global stays changed in the calling process. A KeyboardInterrupt or an exception of a
    callback leaves the last checkpoint, from which the next call resumes.

    Raises CheckpointError where `run` holds another run, TrainingError where the loss is no longer
    finite, memory runs out or another process is lost.
    """
    runtime = runtime or Runtime()
    with ExitStack() as stack:
        # --- process group, device, folder ------------------------------------------------------
        stack.enter_context(_explained_out_of_memory(recipe, preprocessing.size))
        group, device, stop = _enter_process(stack, runtime)
        group.check(recipe.lanes, recipe.images_at_once)
        check_start(recipe, start_from)
        config = RunConfig(
            spec=spec,
            images=images,
            recipe=recipe,
            preprocessing=preprocessing,
            start_from=start_from,
            accept_changed_data=runtime.accept_changed_data,
            log_level=runtime.log_level if group.is_rank0 else logging.DEBUG,
        )
        checkpoint = open_run(run, config, group, stack)

        # --- state ------------------------------------------------------------------------------
        length = TrainingLength(run, recipe, len(images.train), preprocessing.size, runtime.limit_s)
        total = length.planned
        state = stop.run_interruptibly(
            lambda: first_state(config, device, total, run, group, resumed=checkpoint is not None)
        )
        if state is None:
            stop.exit_resumable("stopped before the first step; run the same command to begin")
        if checkpoint is not None:
            state.load_state_dict(checkpoint)
            total = length.total_at(state.images_seen)
        state.network.train()  # before it is copied, so that all replicas train alike
        replicas = Replicas(state.network, recipe.lanes, recipe.seed, group)
        stack.enter_context(closing(replicas))

        # --- data, log, checkpoints -------------------------------------------------------------
        objective = make_objective(recipe, class_weights(recipe, images), preprocessing, device)
        meter = Meter()
        open_batches = _batches_opener(config, group, runtime.workers)
        batches = open_batches(state.images_seen, total)
        stack.callback(lambda: batches.close())
        micro_batches = meter.waiting(batches)
        log = None
        if group.is_rank0:
            trackers = (TensorBoard(), *runtime.trackers)
            log = stack.enter_context(closing(Log(run, state, trackers, device, total)))
        callbacks = runtime.callbacks if group.is_rank0 else ()
        reporter = Reporter(state, meter, log, callbacks, device, total)
        validator = Validator(config, run, log, device, group, runtime.workers)
        saver = Saver(run, state, log, runtime, group)
        began = time.monotonic() - state.seconds

        def save_and_exit() -> NoReturn:
            saver.save()
            stop.exit_resumable(f"saved in {run}; run the same command to resume")

        # --- training loop ----------------------------------------------------------------------
        while True:
            # Evaluate the EMA weights and the raw ones. The best EMA weights are kept.
            if validator.is_due(state, total, recipe.evaluations):
                counts = stop.run_interruptibly(partial(validator.evaluate, state))
                results = validator.reduce(counts)
                if results is None:  # a signal interrupted one of the processes
                    save_and_exit()
                validator.record(state, *results)
                reporter.evaluation(*results)
                saver.save()  # so that a kill never repeats an evaluation
                meter.pause()
            if state.images_seen >= total:
                break
            if 0 < recipe.patience <= state.stale:
                config.log(
                    f"stopped early, after {state.images_seen} of {total} images: the last "
                    f"{state.stale} evaluations were no better than an earlier one"
                )
                break

            # Forward and backward: the gradients of all micro-batches and replicas add up.
            replicas.set_dropout(recipe.dropout_at(state.images_seen / total))
            replicas.begin_step(undoable=recipe.micro_batches > 1 or state.scaler.is_enabled())
            loss_here, first_image = 0.0, ""  # of this process
            for _ in range(recipe.micro_batches):
                batch = stop.run_interruptibly(partial(next, micro_batches))
                if group.any(batch is None or stop.caught is not None):
                    replicas.undo_step()
                    save_and_exit()
                assert batch is not None
                step = partial(forward_backward, objective, state.scaler, batch)
                loss_here += replicas.run(step, recipe.images_at_once, batch.sample_indices)
                first_image = first_image or images.train.keys[int(batch.indices[0])]
            loss = replicas.reduce_gradients(loss_here)

            # Clip, update the weights and their EMA.
            lr = learning_rate(
                state.images_seen,
                total=total,
                peak=recipe.lr_peak,
                train_images=len(images.train),
                schedule=recipe.schedule,
            )
            gradient_norm = update_weights(state, loss, lr, recipe.optim.clip_norm)
            if gradient_norm is None:
                raise TrainingError(_not_finite(loss, state, lr, first_image))
            if state.overflows:  # fp16 skipped the update, so restore batch-norm buffers
                replicas.undo_step()
            # Images count even if fp16 skipped their update: the training keeps its length, and
            # every later step its images and its learning rate.
            state.images_seen += recipe.batch
            state.seconds = time.monotonic() - began
            meter.step(recipe.batch)

            # Report. Save if the last checkpoint is too old: evaluations may be far apart.
            reporter.step(
                loss=loss, lr=lr, gradient_norm=gradient_norm, saving_share=saver.time_fraction
            )
            if saver.is_due():
                saver.save()
                meter.pause()

            # Where a time limit demands another length, what follows is planned anew.
            if state.images_seen not in length.checks:
                continue
            pace = meter.pace(state.seconds, validator.seconds)
            changed = group.run_on_rank0(partial(length.check, state.images_seen, pace))
            if changed is not None:
                config.log(f"to keep the time: {changed} images instead of {total}")
                total = reporter.total = changed
                if log is not None:
                    log.total = changed
                batches.close()
                batches = open_batches(state.images_seen, total)
                micro_batches = meter.waiting(batches)
        return run / WEIGHTS


def forward_backward(
    objective: Objective,
    scaler: torch.amp.GradScaler,
    batch: Batch,
    network: nn.Module,
    rows: slice,
) -> float:
    """Computes the loss of these rows of a micro-batch and adds its gradients to the network.

    Returns the loss.
    """
    loss = objective(batch, network, rows)
    scaler.scale(loss).backward()
    return loss.item()


def update_weights(state: State, loss: float, lr: float, clip_norm: float) -> float | None:
    """Clips the gradient, updates the weights and their EMA; returns the norm before clipping.

    Returns None, and changes nothing, if the loss or the gradient is not finite. fp16 may skip up
    to MOST_OVERFLOWS such updates in a row while its loss scale falls: then the norm is returned,
    and `state.overflows` counts the skipped updates.
    """
    for param_group in state.optimizer.param_groups:
        param_group["lr"] = lr * param_group[LR_SCALE]
    state.scaler.unscale_(state.optimizer)
    parameters = list(state.network.parameters())
    total_norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    norm = total_norm.item()
    if math.isfinite(loss) and math.isfinite(norm):
        if clip_norm:
            nn.utils.clip_grads_with_norm_(parameters, clip_norm, total_norm)
        state.overflows = 0
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.ema.update(state.network)
        return norm
    state.overflows += 1
    if not state.scaler.is_enabled() or state.overflows > MOST_OVERFLOWS:
        return None
    state.scaler.update(state.scaler.get_scale() * state.scaler.get_backoff_factor())
    return norm


def _enter_process(
    stack: ExitStack, runtime: Runtime
) -> tuple[ProcessGroup, torch.device, StopSignal]:
    """Changes the process for a training, until `stack` ends: kernels, group, signals."""
    stack.enter_context(own_process(runtime.own_process))
    stack.enter_context(deterministic_kernels(runtime.deterministic))
    group, device = runtime.group, runtime.device
    if group is None:  # the caller has not joined the processes that torchrun started
        joined = init_distributed(runtime.device, runtime.timeout_s)
        group, device = stack.enter_context(joined)
    return group, device, stack.enter_context(StopSignal())


def _batches_opener(
    config: RunConfig, group: ProcessGroup, workers: int
) -> Callable[[int, int], Generator[Batch]]:
    """Returns a function of an image and the length of the training: it yields this process's rows
    of the micro-batches from that image on."""
    recipe, images, preprocessing = config.recipe, config.images, config.preprocessing
    cache = ImageCache(
        images.train,
        _shortest_side(preprocessing, recipe),
        preprocessing.decode_options,
        CACHE_BYTES // group.local_size,
    )

    def open_batches(start: int, total: int) -> Generator[Batch]:
        plan = TrainingBatchPlan(
            seed=recipe.seed,
            batch=recipe.batch,
            micro_batch=recipe.micro_batch,
            start=start,
            stop=total,
            augment_at=lambda images_seen: recipe.augment_at(images_seen / total),
            size_at=lambda images_seen: recipe.pixels(preprocessing.size, images_seen / total),
            class_weights=class_weights(recipe, images),
            rows_of=lambda size: group.local_range(size, recipe.lanes),
        )
        return training_batches(cache, preprocessing, plan, workers=workers)

    return open_batches


def _shortest_side(preprocessing: Preprocessing, recipe: Recipe) -> int:
    """Returns how many pixels of an image's shorter side training can use at most."""
    spare = 1.0 if recipe.augment.frame == "shift" else 1.3
    return math.ceil(preprocessing.size * spare / preprocessing.crop)


@contextmanager
def _explained_out_of_memory(recipe: Recipe, pixels: int) -> Iterator[None]:
    """Turns an out-of-memory error into a TrainingError that says what was too large.

    The run can be resumed on a machine with more memory. A smaller micro-batch is another recipe,
    so it needs another run.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        smaller = max(1, recipe.images_at_once // 2)
        raise TrainingError(
            f"out of memory with {recipe.images_at_once} images of {pixels} px at once. "
            "Checkpoints are intact: resume on a machine with more memory, or start anew, into "
            f"another `out`, with fewer pixels or a recipe of `micro_batch={smaller}`."
        ) from None


def _not_finite(loss: float, state: State, lr: float, first_image: str) -> str:
    what = f"the loss became {loss}" if not math.isfinite(loss) else "the gradient is not finite"
    return (
        f"{what} at {state.images_seen} images (learning rate {lr:.4g}; "
        f"batch: {first_image}, ...). The last checkpoint is intact. Use a recipe with "
        "a lower peak learning rate (`optim.lr_peak`), and another `out`."
    )
