"""The training loop. Images seen are its only clock; run again, it goes on where it was."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from phiscale.data.loader import Batch, Pictures, normalised, training_batches
from phiscale.data.preprocessing import Preprocessing
from phiscale.data.splits import ImageSet
from phiscale.errors import CheckpointError, TrainingError
from phiscale.files import locked, read_json, sweep, write_json
from phiscale.nn.network import Network, build
from phiscale.spec import Spec
from phiscale.train import transfer
from phiscale.train.checkpoint import load_newest, save_checkpoint
from phiscale.train.ema import Ema
from phiscale.train.evaluate import evaluate
from phiscale.train.lanes import Lanes
from phiscale.train.optim import learning_rate, make_optimizer
from phiscale.train.recipe import Recipe, differences
from phiscale.train.signals import StopSignal
from phiscale.weights.adapt import adapted
from phiscale.weights.store import Card, card_of, fill, read, save

LossOf = Callable[[nn.Module, slice], torch.Tensor]

SAVE_EVERY_S = 60.0  # and at every evaluation: what a kill can cost


@dataclass
class State:
    """All that a checkpoint holds."""

    network: Network  # what is optimised
    ema: Ema
    optimizer: torch.optim.Optimizer
    images_seen: int = 0
    best_top1: float = -1.0
    stale: int = 0  # evaluations since the best one
    log_bytes: int = 0  # log.jsonl up to here belongs to this state

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(), "images_seen": self.images_seen,
                "best_top1": self.best_top1, "stale": self.stale,
                "log_bytes": self.log_bytes}  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.images_seen, self.best_top1 = state["images_seen"], state["best_top1"]
        self.stale, self.log_bytes = state["stale"], state["log_bytes"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a reporter is told after a step or an evaluation."""

    images_seen: int
    total: int
    loss: float
    images_per_s: float
    validation_top1: float | None = None


def train(
    run: Path, spec: Spec, images: ImageSet, recipe: Recipe, preprocessing: Preprocessing, *,
    device: torch.device | None = None, workers: int = 2, start_from: Path | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    warn: Callable[[str], None] = print,
) -> Path:  # fmt: skip
    """Trains `spec` on `images` into the folder `run`; returns its `best.safetensors`.

    Run again with the same arguments it resumes, bit for bit as if never stopped (same machine and
    number of threads). `start_from`: a weights file whose tensors the network starts with, its head
    made anew where the classes differ. Raises CheckpointError where the folder holds another run.
    """
    device = device or torch.device("cpu")
    with locked(run), StopSignal() as signal:
        transfer.check(recipe, start_from)
        _claim(run, spec, images, recipe, preprocessing, start_from)
        total = recipe.images(len(images.train))
        saved = load_newest(run / "checkpoints", warn)
        state = _start(spec, recipe, images, start_from, device, total, preprocessing, run,
                       warn, resumed=saved is not None)  # fmt: skip
        if saved is not None:
            state.load_state_dict(saved)
        parent = card_of(start_from) if start_from else None
        card = Card(spec=spec, preprocessing=preprocessing, classes=images.classes,
                    recipe=recipe.to_dict(), licence=parent.licence if parent else "",
                    origin=_origin(images, parent))  # fmt: skip
        marks = [m for m in _evaluation_marks(total, recipe) if m > state.images_seen]
        objective = _objective(recipe, images, preprocessing, device)
        state.network.train()  # before it is copied: the lanes train alike
        lanes = Lanes(state.network, recipe.lanes, recipe.seed)
        pictures = Pictures(
            images.train, _shortest(preprocessing, recipe), preprocessing.background
        )
        meter, last_save = _Meter(), time.monotonic()
        batches = training_batches(
            pictures, preprocessing, recipe.augment, seed=recipe.seed, batch=recipe.batch,
            start=state.images_seen, stop=total, workers=workers,
            size_at=lambda at: recipe.pixels(preprocessing.size, at / total),
        )  # fmt: skip
        with closing(_Log(run, state)) as log, closing(batches), closing(lanes):
            if total == 0 and saved is None:  # the classifier was all there was to find
                _keep_if_best(state, images, card, run / "best.safetensors", log, device)
                state.log_bytes = log.flush()
                save_checkpoint(run / "checkpoints", 0, state.state_dict())
            for batch in batches:
                if recipe.patience and state.stale >= recipe.patience:
                    break
                rate = learning_rate(
                    state.images_seen, total=total, peak=recipe.optim.lr_peak,
                    train_images=len(images.train), schedule=recipe.schedule,
                )  # fmt: skip
                value = _step(state, lanes, objective(batch), len(batch.indices), rate, recipe)
                if not math.isfinite(value):
                    raise TrainingError(_not_finite(value, state, rate, batch.indices, images))
                state.images_seen += len(batch.indices)
                speed = meter.step(len(batch.indices))
                log.step(state, value, rate, speed)
                top1 = None
                if marks and state.images_seen >= marks[0]:
                    marks = [m for m in marks if m > state.images_seen]
                    top1 = _keep_if_best(state, images, card, run / "best.safetensors", log, device)
                    last_save = -math.inf
                report(Progress(images_seen=state.images_seen, total=total, loss=value,
                                images_per_s=speed, validation_top1=top1))  # fmt: skip
                if time.monotonic() - last_save > SAVE_EVERY_S or signal.caught:
                    state.log_bytes = log.flush()
                    save_checkpoint(run / "checkpoints", state.images_seen, state.state_dict())
                    last_save = time.monotonic()
                    meter.pause()
                signal.leave_if_caught(f"saved in {run}; run the same command to go on")
        return run / "best.safetensors"


def _step(
    state: State, lanes: Lanes, loss_of: LossOf, images: int, rate: float, recipe: Recipe
) -> float:
    """One update; returns the loss. A loss that is not finite changes nothing."""
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["share"]
    value = lanes.gradients(loss_of, images, state.images_seen)
    if math.isfinite(value):
        if recipe.optim.clip_norm:
            nn.utils.clip_grad_norm_(state.network.parameters(), recipe.optim.clip_norm)
        state.optimizer.step()
        state.ema.update(state.network)
    return value


def _start(
    spec: Spec, recipe: Recipe, images: ImageSet, start_from: Path | None, device: torch.device,
    total: int, preprocessing: Preprocessing, run: Path, tell: Callable[[str], None], *,
    resumed: bool,
) -> State:  # fmt: skip
    torch.manual_seed(recipe.seed)
    network = build(spec, dropout=recipe.dropout, drop_path=recipe.drop_path)
    if start_from is not None:
        card, tensors = read(start_from)
        tensors = adapted(tensors, card.spec, spec, network.state_dict(),
                          new_head=card.classes != images.classes)  # fmt: skip
        fill(network, tensors, start_from)
    network = network.to(device).to(memory_format=torch.channels_last)
    if start_from is not None:
        begun = transfer.begin(network, recipe, images, preprocessing, device, run, resumed=resumed)
        tell(begun.words())
    if still := transfer.freeze(network, recipe):
        tell(
            f"the first {still} blocks learn nothing: less than {recipe.least_share:g} of the rate"
        )
    updates = math.ceil(total / recipe.batch)
    ema = Ema(network, recipe.ema_half_life_fraction * updates)
    return State(network, ema, make_optimizer(network, recipe.optim, recipe.layer_decay))


def _origin(images: ImageSet, parent: Card | None) -> str:
    """Where a licence or a doubt may come from."""
    before = f", starting from weights {parent.origin or 'of unknown origin'}" if parent else ""
    return f"trained on {images.source}{before}"


def _objective(
    recipe: Recipe, images: ImageSet, preprocessing: Preprocessing, device: torch.device
) -> Callable[[Batch], LossOf]:
    """For a batch: what a part of it adds to the batch's mean loss."""
    weight = None
    if recipe.class_weights == "balanced":
        counts = torch.bincount(torch.tensor(images.train.labels), minlength=len(images.classes))
        weight = counts.clamp(min=1).float().rsqrt()
        weight = (weight / weight.mean()).to(device)

    def objective(batch: Batch) -> LossOf:
        labels = batch.labels.to(device)
        whole = len(labels) if weight is None else weight[labels].sum()

        def loss_of(network: nn.Module, part: slice) -> torch.Tensor:
            logits = network(normalised(batch.pixels[part], preprocessing, device))
            loss = F.cross_entropy(logits, labels[part], weight, reduction="sum",
                                   label_smoothing=recipe.label_smoothing)  # fmt: skip
            return loss / whole

        return loss_of

    return objective


def _keep_if_best(
    state: State, images: ImageSet, card: Card, best: Path, log: _Log, device: torch.device
) -> float:
    """Evaluates the average on the validation split; the best so far becomes best.safetensors."""
    averaged = build(card.spec, initialised=False).to(device)
    averaged.load_state_dict(state.ema.averages, assign=True)
    averaged = averaged.to(memory_format=torch.channels_last)
    metrics = evaluate(
        averaged, images.validation, card.preprocessing, images.classes, device=device
    )
    log.evaluation(state, metrics.top1, metrics.cross_entropy)
    state.stale += 1
    if metrics.top1 > state.best_top1:
        state.best_top1, state.stale = metrics.top1, 0
        said = {"validation": {"top1": metrics.top1, "interval": list(metrics.interval),
                               "images": metrics.images, "images_seen": state.images_seen,
                               "weights": "moving average"}}  # fmt: skip
        save(best, state.ema.averages, replace(card, metrics=said))
    return metrics.top1


def _evaluation_marks(total: int, recipe: Recipe) -> list[int]:
    """Images seen at which to evaluate; the end is always one."""
    return sorted(
        {math.ceil(total * (i + 1) / recipe.evaluations) for i in range(recipe.evaluations)}
    )


def _shortest(preprocessing: Preprocessing, recipe: Recipe) -> int:
    """Pixels of the shorter side that training can use."""
    spare = 1.0 if recipe.augment.frame == "shift" else 1.3
    return math.ceil(preprocessing.size * spare / preprocessing.crop)


def _claim(
    run: Path, spec: Spec, images: ImageSet, recipe: Recipe, preprocessing: Preprocessing,
    start_from: Path | None,
) -> None:  # fmt: skip
    """Writes what this run is, or compares it with what the folder says it is."""
    sweep(run)
    about = {
        "recipe.json": recipe.to_dict(),
        "spec.json": spec.to_dict(),
        "data.json": {"source": images.source, "classes": list(images.classes),
                      "fingerprint": images.fingerprint(), "notes": list(images.notes),
                      "preprocessing": preprocessing.to_dict(),
                      "skipped": [asdict(file) for file in images.skipped],
                      "start_from": str(start_from) if start_from else None},
    }  # fmt: skip
    for name, value in about.items():
        path = run / name
        value = json.loads(json.dumps(value))
        if not path.exists():
            write_json(path, value)
            continue
        changed = differences(read_json(path), value)
        if changed and (run / "checkpoints").exists():
            raise CheckpointError(
                f"{run} holds another run: {name} differs in {'; '.join(changed[:5])}. "
                "Use the same arguments to resume it, or another --out."
            )
        write_json(path, value)


def _not_finite(value: float, state: State, rate: float, indices: Any, images: ImageSet) -> str:
    names = ", ".join(images.train.keys[int(i)] for i in indices[:3])
    return (
        f"the loss became {value} at {state.images_seen} images (learning rate {rate:.4g}; "
        f"batch: {names}, ...). The last checkpoint is intact. Lower the rate "
        "(train: --optim.lr-peak) and use another --out."
    )


class _Meter:
    """Images per second over the recent steps, evaluations and saves left out."""

    def __init__(self) -> None:
        self.recent: list[tuple[int, float]] = []
        self.last = time.monotonic()

    def pause(self) -> None:
        self.last = time.monotonic()

    def step(self, images: int) -> float:
        now = time.monotonic()
        self.recent = [*self.recent[-49:], (images, now - self.last)]
        self.last = now
        return sum(n for n, _ in self.recent) / max(1e-9, sum(t for _, t in self.recent))


class _Log:
    """log.jsonl and TensorBoard: every step once, whatever was killed and resumed."""

    def __init__(self, run: Path, state: State):
        from torch.utils.tensorboard.writer import SummaryWriter

        self.file = (run / "log.jsonl").open("ab")
        self.file.truncate(state.log_bytes)
        self.file.seek(0, os.SEEK_END)
        self.board = SummaryWriter(str(run / "tensorboard"), purge_step=state.images_seen)

    def _write(self, record: dict[str, Any]) -> None:
        self.file.write(json.dumps(record).encode() + b"\n")

    def step(self, state: State, loss: float, rate: float, images_per_s: float) -> None:
        self._write({
            "images_seen": state.images_seen, "loss": loss, "lr": rate,
            "images_per_s": round(images_per_s, 1), "time": round(time.time(), 3),
        })  # fmt: skip
        self.board.add_scalar("train/loss", loss, state.images_seen)
        self.board.add_scalar("train/lr", rate, state.images_seen)

    def evaluation(self, state: State, top1: float, cross_entropy: float) -> None:
        self._write({
            "images_seen": state.images_seen, "validation_top1": top1,
            "validation_cross_entropy": cross_entropy, "time": round(time.time(), 3),
        })  # fmt: skip
        self.board.add_scalar("validation/top1", top1, state.images_seen)

    def flush(self) -> int:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.board.flush()
        return self.file.tell()

    def close(self) -> None:
        self.flush()
        self.file.close()
        self.board.close()


def read_log(run: Path) -> Iterator[dict[str, Any]]:
    """The records of a run's log."""
    path = run / "log.jsonl"
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)
