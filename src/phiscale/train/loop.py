"""The training loop. Images seen are its only clock; run again, it goes on where it was."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from phiscale.data.loader import Pictures, training_batches
from phiscale.data.preprocessing import Preprocessing
from phiscale.data.splits import ImageSet
from phiscale.errors import PhiscaleError, TrainingError
from phiscale.files import locked
from phiscale.nn.blocks import Dropout
from phiscale.nn.network import build
from phiscale.spec import Spec
from phiscale.train import transfer
from phiscale.train.checkpoint import load_newest, save_checkpoint
from phiscale.train.ema import Ema
from phiscale.train.evaluate import quick
from phiscale.train.lanes import Lanes
from phiscale.train.log import Log, Meter
from phiscale.train.objective import class_weights, make_objective
from phiscale.train.optim import make_optimizer
from phiscale.train.recipe import Recipe
from phiscale.train.schedule import ema_cap, learning_rate
from phiscale.train.signals import StopSignal
from phiscale.train.state import About, State
from phiscale.train.trackers import TensorBoard, Tracker
from phiscale.train.world import TIMEOUT_S, World, joined
from phiscale.weights.adapt import adapted
from phiscale.weights.store import Card, card_of, fill, read, save

CPU = torch.device("cpu")
SAVE_EVERY_S = 60.0  # and at every evaluation: what a kill can cost
SAVE_SHARE = 0.01  # of the time, at most, that saving takes
MOST_OVERFLOWS = 50  # updates in a row that fp16 may skip while its scale falls


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a reporter is told after a step or an evaluation."""

    images_seen: int
    total: int
    loss: float
    images_per_s: float
    validation_top1: float | None = None  # of the moving average
    raw_top1: float | None = None  # of the weights as they are
    learning_rate: float = 0.0
    wait_share: float = 0.0  # of the time, waiting for pictures


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What does not change a training's result."""

    device: torch.device = CPU
    workers: int = 2
    keep: int = 2  # checkpoints
    save_every_s: float = SAVE_EVERY_S  # and at every evaluation; 0: after every step
    timeout_s: float = TIMEOUT_S  # until a silent process is taken for dead
    trackers: Sequence[Tracker] = ()  # besides TensorBoard
    accept_changed_data: bool = False
    deterministic: bool = False  # on a GPU: the same bits every time, somewhat slower
    report: Callable[[Progress], None] = lambda progress: None
    tell: Callable[[str], None] = print


def train(
    run: Path, spec: Spec, images: ImageSet, recipe: Recipe, preprocessing: Preprocessing,
    setup: Setup | None = None, *, start_from: Path | None = None,
) -> Path:  # fmt: skip
    """Trains `spec` on `images` into the folder `run`; returns its `best.safetensors`.

    Run again with the same arguments it resumes, bit for bit as if never stopped (same machine and
    number of threads). `start_from`: a weights file whose tensors the network starts with, its head
    made anew where the classes differ. Under torchrun every process calls it alike.
    Raises CheckpointError where the folder holds another run.
    """
    setup = setup or Setup()
    if setup.deterministic:
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    with ExitStack() as stack:
        world, device = stack.enter_context(joined(setup.device, setup.timeout_s))
        signal = stack.enter_context(StopSignal())
        tell = setup.tell if world.first else lambda line: None
        report = setup.report if world.first else lambda progress: None
        world.check(recipe.lanes, recipe.batch // recipe.pieces)
        transfer.check(recipe, start_from)
        about = About(spec=spec, images=images, recipe=recipe, preprocessing=preprocessing,
                      start_from=start_from, accept_changed_data=setup.accept_changed_data,
                      tell=tell)  # fmt: skip
        saved = _open(run, about, world, stack, tell)
        total = recipe.images(len(images.train))
        state = _start(about, device, total, run, world, tell, resumed=saved is not None)
        if saved is not None:
            state.load_state_dict(saved)
        card = _card(about)
        state.network.train()  # before it is copied: the lanes train alike
        lanes = stack.enter_context(closing(
            Lanes(state.network, recipe.lanes, recipe.seed, world, state.scaler.scale)
        ))  # fmt: skip
        weights = class_weights(recipe, images)
        objective = make_objective(recipe, weights, preprocessing, device)
        batches = stack.enter_context(closing(training_batches(
            Pictures(images.train, _shortest(preprocessing, recipe), preprocessing.background),
            preprocessing, lambda at: recipe.augment_at(at / total), seed=recipe.seed,
            batch=recipe.batch, micro=recipe.micro_batch, start=state.images_seen, stop=total,
            workers=setup.workers, share=lambda images: world.span(images, recipe.lanes),
            size_at=lambda at: recipe.pixels(preprocessing.size, at / total), weights=weights,
        )))  # fmt: skip
        trackers = (TensorBoard(), *setup.trackers)
        log = (
            stack.enter_context(closing(Log(run, state, trackers, device))) if world.first else None
        )
        saver = _Saver(run, state, log, setup, world)
        if total == 0 and saved is None:  # the classifier was all there was to find
            _evaluated(state, about, card, run, log, device, world)
            saver.save()
        marks = [m for m in _evaluation_marks(total, recipe) if m > state.images_seen]
        meter, began = Meter(), time.monotonic() - state.seconds
        pieces = meter.waiting(batches)
        while state.images_seen < total:
            if recipe.patience and state.stale >= recipe.patience:
                break
            rate = learning_rate(
                state.images_seen, total=total, peak=recipe.lr_peak,
                train_images=len(images.train), schedule=recipe.schedule,
            )  # fmt: skip
            _set_dropout(lanes, recipe.dropout_at(state.images_seen / total))
            lanes.begin(keep=recipe.pieces > 1)
            loss, first = 0.0, ""
            for batch in islice(pieces, recipe.pieces):
                if world.any(signal.caught is not None):
                    lanes.drop()  # the unfinished step
                    saver.save()
                    signal.leave(f"saved in {run}; run the same command to go on")
                loss += lanes.add(objective(batch), recipe.batch // recipe.pieces, batch.places)
                first = first or images.train.keys[int(batch.indices[0])]
            value = lanes.finish(loss)
            norm = _update(state, value, rate, recipe)
            if norm is None:
                raise TrainingError(_not_finite(value, state, rate, first))
            state.images_seen += recipe.batch
            meter.step(recipe.batch)
            state.seconds = time.monotonic() - began
            if log:
                log.step(state, meter, loss=value, lr=rate, gradient_norm=norm)
            said: dict[str, float] = {}
            if marks and state.images_seen >= marks[0]:
                marks = [m for m in marks if m > state.images_seen]
                said = _evaluated(state, about, card, run, log, device, world)
                saver.due = True
            report(Progress(
                images_seen=state.images_seen, total=total, loss=value, learning_rate=rate,
                images_per_s=meter.images_per_s, wait_share=meter.wait_share, **said,
            ))  # fmt: skip
            if saver.is_due():
                saver.save()
                meter.pause()
        return run / "best.safetensors"


def _update(state: State, loss: float, rate: float, recipe: Recipe) -> float | None:
    """One update; returns the gradient's norm. None, and nothing changed, where the loss or the
    gradient is not finite: half precision may skip some such updates while its scale falls."""
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["share"]
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

    def __init__(self, run: Path, state: State, log: Log | None, setup: Setup, world: World):
        self.run, self.state, self.log, self.world = run, state, log, world
        self.every_s, self.keep = setup.save_every_s, setup.keep
        self.last, self.took_s, self.due = time.monotonic(), 0.0, False

    def is_due(self) -> bool:
        seldom = max(self.every_s, self.took_s / SAVE_SHARE) if self.every_s else 0.0
        return self.world.same(self.due or time.monotonic() - self.last > seldom)

    def save(self) -> None:
        start = time.monotonic()
        if self.log is not None:
            self.state.log_bytes = self.log.flush()
            save_checkpoint(
                self.run / "checkpoints", self.state.images_seen, self.state.state_dict(), self.keep
            )
        self.last, self.due = time.monotonic(), False
        self.took_s = self.last - start


def _open(
    run: Path, about: About, world: World, stack: ExitStack, tell: Callable[[str], None]
) -> dict[str, Any] | None:
    """The first process takes the folder and reads its newest checkpoint; all get that, or what
    spoke against it."""
    found: dict[str, Any] | PhiscaleError | None = None
    if len(set(world.all(about.digest()))) > 1:
        raise TrainingError(
            "the processes of this training see other data or were given other flags. Start all "
            "with one command, on the same data."
        )
    if world.first:
        try:
            stack.enter_context(locked(run))
            about.claim(run)
            found = load_newest(run / "checkpoints", tell)
        except PhiscaleError as error:
            found = error
    found = world.same(found, patient=True)
    if isinstance(found, PhiscaleError):
        raise found
    return found


def _start(
    about: About, device: torch.device, total: int, run: Path, world: World,
    tell: Callable[[str], None], *, resumed: bool,
) -> State:  # fmt: skip
    """The state before the first step; what a checkpoint holds is loaded over it."""
    recipe, spec, images = about.recipe, about.spec, about.images
    torch.manual_seed(recipe.seed)
    network = build(spec, dropout=recipe.dropout, drop_path=recipe.drop_path)
    if about.start_from is not None:
        card, tensors = read(about.start_from)
        tensors = adapted(tensors, card.spec, spec, network.state_dict(),
                          new_head=card.classes != images.classes)  # fmt: skip
        fill(network, tensors, about.start_from)
    network = network.to(device).to(memory_format=torch.channels_last)
    if about.start_from is not None:
        begun = transfer.begin(
            network, recipe, images, about.preprocessing, device, run, resumed=resumed
        ) if world.first else None  # fmt: skip
        if (begun := world.same(begun, patient=True)) is not None:
            tell(begun.words())
            transfer.apply(network, begun.norms)
        if not resumed and world.size > 1:
            here = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
            network.load_state_dict(world.same(here))
    if still := transfer.freeze(network, recipe):
        tell(
            f"the first {still} blocks learn nothing: less than {recipe.least_share:g} of the rate"
        )
    if recipe.precision == "fp64":
        network = network.double()
    ema = Ema(network, ema_cap(recipe, total // recipe.batch))
    scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
    return State(network, ema, make_optimizer(network, recipe.optim, recipe.layer_decay), scaler)


def _card(about: About) -> Card:
    """Of the weights that this run will leave; where a licence or a doubt may come from."""
    parent = card_of(about.start_from) if about.start_from else None
    before = f", starting from weights {parent.origin or 'of unknown origin'}" if parent else ""
    return Card(spec=about.spec, preprocessing=about.preprocessing, classes=about.images.classes,
                recipe=about.recipe.to_dict(), licence=parent.licence if parent else "",
                origin=f"trained on {about.images.source}{before}")  # fmt: skip


def _evaluated(
    state: State, about: About, card: Card, run: Path, log: Log | None, device: torch.device,
    world: World,
) -> dict[str, float]:  # fmt: skip
    """Evaluates the average and the weights as they are on the validation split; the average that
    is the best so far becomes best.safetensors. Returns top-1 of both."""
    split, take = about.images.validation, about.preprocessing
    averaged = build(about.spec, initialised=False).to(device)
    averaged.load_state_dict(state.ema.averages, assign=True)
    averaged = averaged.to(memory_format=torch.channels_last)
    found = quick(averaged, split, take, device, world)
    raw = quick(state.network, split, take, device, world)
    if log:
        log.evaluation(state, validation_top1=found.top1, raw_top1=raw.top1,
                       validation_cross_entropy=found.cross_entropy)  # fmt: skip
    state.stale += 1
    if found.top1 > state.best_top1:
        state.best_top1, state.stale = found.top1, 0
        said = {"validation": {"top1": found.top1, "interval": list(found.interval),
                               "images": len(split), "images_seen": state.images_seen,
                               "weights": "moving average"}}  # fmt: skip
        if world.first:
            save(run / "best.safetensors", state.ema.averages, replace(card, metrics=said))
    return {"validation_top1": found.top1, "raw_top1": raw.top1}


def _set_dropout(lanes: Lanes, rate: float) -> None:
    """Sets the rate before the classifier, which may grow."""
    for network in lanes.networks:
        dropout = network.get_submodule("dropout")
        assert isinstance(dropout, Dropout)
        dropout.rate = rate


def _evaluation_marks(total: int, recipe: Recipe) -> list[int]:
    """Images seen at which to evaluate; the end is always one."""
    return sorted(
        {math.ceil(total * (i + 1) / recipe.evaluations) for i in range(recipe.evaluations)}
    )


def _shortest(preprocessing: Preprocessing, recipe: Recipe) -> int:
    """Pixels of the shorter side that training can use."""
    spare = 1.0 if recipe.augment.frame == "shift" else 1.3
    return math.ceil(preprocessing.size * spare / preprocessing.crop)


def _not_finite(loss: float, state: State, rate: float, names: str) -> str:
    what = f"the loss became {loss}" if not math.isfinite(loss) else "the gradient is not finite"
    return (
        f"{what} at {state.images_seen} images (learning rate {rate:.4g}; "
        f"batch: {names}, ...). The last checkpoint is intact. Lower the rate "
        "(train: --optim.lr-peak) and use another --out."
    )
