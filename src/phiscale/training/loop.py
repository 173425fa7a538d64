"""The training loop. Images seen are its only clock; run again, it goes on where it was."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NoReturn

from torch import nn

from phiscale.arch.spec import Spec
from phiscale.data.datasets.dataset import ImageSet
from phiscale.data.loader import CACHE_BYTES, ImageCache, TrainingBatchPlan, training_batches
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import TrainingError, is_out_of_memory
from phiscale.nn.blocks import Dropout
from phiscale.training import transfer
from phiscale.training.callbacks import Progress, as_callbacks
from phiscale.training.checkpoint import save_checkpoint
from phiscale.training.determinism import same_bits
from phiscale.training.log import Log, Meter, memory_bytes
from phiscale.training.objective import class_weights, make_objective
from phiscale.training.parallel.lanes import Replicas
from phiscale.training.parallel.processes import ProcessGroup, init_distributed
from phiscale.training.recipes.recipe import Recipe
from phiscale.training.resume import first_state, open_run
from phiscale.training.runtime import Runtime
from phiscale.training.schedule import learning_rate
from phiscale.training.signals import StopSignal
from phiscale.training.state import RunConfig, State
from phiscale.training.trackers import TensorBoard
from phiscale.training.validation import Validator

SAVE_SHARE = 0.01  # of the time, at most, that saving takes
MOST_OVERFLOWS = 50  # updates in a row that fp16 may skip while its scale falls


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
    """Trains `spec` on `images` into the folder `run`; returns its `best.safetensors`.

    Run again with the same arguments it resumes, bit for bit as if never stopped (same machine and
    number of threads). `start_from`: a weights file whose tensors the network starts with, its head
    made anew where the classes differ. Under torchrun every process calls it alike.
    Raises CheckpointError where the folder holds another run.
    """
    runtime = runtime or Runtime()
    with ExitStack() as stack:
        stack.enter_context(_memory(recipe, preprocessing.size))
        stack.enter_context(same_bits(runtime.deterministic))
        group, device = (
            (runtime.group, runtime.device)
            if runtime.group
            else stack.enter_context(init_distributed(runtime.device, runtime.timeout_s))
        )
        signal = stack.enter_context(StopSignal())
        level = runtime.log_level if group.is_rank0 else logging.DEBUG
        group.check(recipe.lanes, recipe.batch // recipe.micro_batches)
        transfer.check_start(recipe, start_from)
        config = RunConfig(
            spec=spec,
            images=images,
            recipe=recipe,
            preprocessing=preprocessing,
            start_from=start_from,
            accept_changed_data=runtime.accept_changed_data,
            log_level=level,
        )
        saved = open_run(run, config, group, stack)
        total = recipe.images(len(images.train))
        state = signal.unless_caught(
            lambda: first_state(config, device, total, run, group, resumed=saved is not None)
        )
        if state is None:
            signal.leave("stopped before the first step; run the same command to begin")
        if saved is not None:
            state.load_state_dict(saved)
        state.network.train()  # before it is copied: the lanes train alike
        lanes = stack.enter_context(
            closing(Replicas(state.network, recipe.lanes, recipe.seed, group, state.scaler.scale))
        )
        weights = class_weights(recipe, images)
        objective = make_objective(recipe, weights, preprocessing, device)
        batches = stack.enter_context(
            closing(
                training_batches(
                    ImageCache(
                        images.train,
                        _shortest(preprocessing, recipe),
                        preprocessing.background,
                        CACHE_BYTES // group.local_size,
                    ),
                    preprocessing,
                    TrainingBatchPlan(
                        seed=recipe.seed,
                        batch=recipe.batch,
                        start=state.images_seen,
                        stop=total,
                        augment_at=lambda sample: recipe.augment_at(sample / total),
                        micro_batch=recipe.micro_batch,
                        size_at=lambda sample: recipe.pixels(preprocessing.size, sample / total),
                        class_weights=weights,
                        share=lambda images: group.local_range(images, recipe.lanes),
                    ),
                    workers=runtime.workers,
                )
            )
        )
        trackers = (TensorBoard(), *runtime.trackers)
        log = (
            stack.enter_context(closing(Log(run, state, trackers, device, total)))
            if group.is_rank0
            else None
        )
        saver = _Saver(run, state, log, runtime, group)
        validator = Validator(config, run, log, device, group, runtime.workers)
        meter, began = Meter(), time.monotonic() - state.seconds
        micro_batches = meter.waiting(batches)
        loss = rate = math.nan

        callbacks = as_callbacks(runtime.callbacks if group.is_rank0 else ())

        def progress(**said: float) -> Progress:
            if True:
                return Progress(
                    images_seen=state.images_seen,
                    total=total,
                    loss=loss,
                    learning_rate=rate,
                    images_per_s=meter.images_per_s,
                    wait_share=meter.wait_share,
                    memory_bytes=memory_bytes(device),
                    **said,
                )

        def leave() -> NoReturn:
            saver.save()
            signal.leave(f"saved in {run}; run the same command to go on")

        while True:
            if validator.is_due(state, total, recipe.evaluations):
                said = signal.unless_caught(lambda: validator.evaluate(state))
                if (found := validator.reduce(said)) is None:
                    leave()
                validator.record(state, *found)
                for callback in callbacks:
                    callback.on_evaluation(
                        progress(validation_top1=found[0].top1, raw_top1=found[1].top1)
                    )
                saver.save()
                meter.pause()
            if state.images_seen >= total or 0 < recipe.patience <= state.stale:
                break
            rate = learning_rate(
                state.images_seen,
                total=total,
                peak=recipe.lr_peak,
                train_images=len(images.train),
                schedule=recipe.schedule,
            )
            _set_dropout(lanes, recipe.dropout_at(state.images_seen / total))
            lanes.begin(keep=recipe.micro_batches > 1 or state.scaler.is_enabled())
            part, first = 0.0, ""
            for _ in range(recipe.micro_batches):
                batch = signal.unless_caught(lambda: next(micro_batches))
                if group.any(batch is None or signal.caught is not None):
                    lanes.drop()  # the unfinished step
                    leave()
                assert batch is not None
                part += lanes.add(
                    objective(batch), recipe.batch // recipe.micro_batches, batch.sample_indices
                )
                first = first or images.train.keys[int(batch.indices[0])]
            loss = lanes.finish(part)
            norm = _update(state, loss, rate, recipe)
            if norm is None:
                raise TrainingError(_not_finite(loss, state, rate, first))
            if state.overflows:
                lanes.drop()  # its statistics, too
            state.images_seen += recipe.batch
            meter.step(recipe.batch)
            state.seconds = time.monotonic() - began
            if log:
                log.step(
                    state, meter, loss=loss, lr=rate, gradient_norm=norm, saving_share=saver.share
                )
            for callback in callbacks:
                callback.on_step(progress())
            if saver.is_due():
                saver.save()
                meter.pause()
        return run / "best.safetensors"


def _update(state: State, loss: float, rate: float, recipe: Recipe) -> float | None:
    """One update; returns the gradient's norm. None, and nothing changed, where the loss or the
    gradient is not finite: half precision may skip some such updates while its scale falls."""
    for param_group in state.optimizer.param_groups:
        param_group["lr"] = rate * param_group["share"]
    state.scaler.unscale_(state.optimizer)
    gradients = [p.grad for p in state.network.parameters() if p.grad is not None]
    total = nn.utils.get_total_norm(gradients)
    norm = total.item()
    if math.isfinite(loss) and math.isfinite(norm):
        if recipe.optim.clip_norm:
            nn.utils.clip_grads_with_norm_(
                state.network.parameters(), recipe.optim.clip_norm, total
            )
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


class _Saver:
    """Saves on time, but never so often that it takes a share of the time worth naming."""

    def __init__(
        self, run: Path, state: State, log: Log | None, runtime: Runtime, group: ProcessGroup
    ):
        self.run, self.state, self.log, self.group = run, state, log, group
        self.every_s, self.keep = runtime.save_every_s, runtime.keep
        self.began = self.last = time.monotonic()
        self.took_s = self.spent_s = 0.0

    @property
    def share(self) -> float:
        """Of the time since this start, what saving took."""
        return round(self.spent_s / max(1e-9, time.monotonic() - self.began), 5)

    def is_due(self) -> bool:
        seldom = max(self.every_s, self.took_s / SAVE_SHARE) if self.every_s else 0.0
        return self.group.broadcast(time.monotonic() - self.last > seldom)

    def save(self) -> None:
        start = time.monotonic()
        if self.log is not None:
            self.state.log_bytes = self.log.flush()
            save_checkpoint(
                self.run / "checkpoints", self.state.images_seen, self.state.state_dict(), self.keep
            )
        self.group.barrier()  # for a slow disk no one is taken for dead
        self.last = time.monotonic()
        self.took_s = self.last - start
        self.spent_s += self.took_s


def _set_dropout(lanes: Replicas, rate: float) -> None:
    """Sets the rate before the classifier, which may grow."""
    for network in lanes.networks:
        dropout = network.get_submodule("dropout")
        assert isinstance(dropout, Dropout)
        dropout.rate = rate


def _shortest(preprocessing: Preprocessing, recipe: Recipe) -> int:
    """Pixels of the shorter side that training can use."""
    spare = 1.0 if recipe.augment.frame == "shift" else 1.3
    return math.ceil(preprocessing.size * spare / preprocessing.crop)


@contextmanager
def _memory(recipe: Recipe, pixels: int) -> Iterator[None]:
    """Says what was too large, and that the run is not lost: another micro-batch is another recipe,
    but a machine with more memory goes on with this one."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        once = recipe.batch // recipe.micro_batches
        raise TrainingError(
            f"out of memory with {once} pictures of {pixels} px at once. Checkpoints are intact: "
            f"go on where there is more, or begin anew with --micro-batch {max(1, once // 2)} or a "
            "smaller --resolution and another --out."
        ) from None


def _not_finite(loss: float, state: State, rate: float, names: str) -> str:
    what = f"the loss became {loss}" if not math.isfinite(loss) else "the gradient is not finite"
    return (
        f"{what} at {state.images_seen} images (learning rate {rate:.4g}; "
        f"batch: {names}, ...). The last checkpoint is intact. Lower the rate "
        "(train: --optim.lr-peak) and use another --out."
    )
