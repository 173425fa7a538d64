"""Validation during training; saves the best weights."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch

from phiscale.files.run_files import WEIGHTS
from phiscale.nn.network import build
from phiscale.training.evaluate import EvalCounts, EvalResult, count_correct, reduce_counts
from phiscale.training.log import Log
from phiscale.training.parallel.processes import ProcessGroup
from phiscale.training.resume import metadata_for
from phiscale.training.state import RunConfig, State
from phiscale.weights.store import save


class Validator:
    """Evaluates the EMA weights and the raw ones; the best EMA weights become best.safetensors."""

    def __init__(
        self,
        config: RunConfig,
        run: Path,
        log: Log | None,
        device: torch.device,
        group: ProcessGroup,
        workers: int,
    ):
        self.config, self.run, self.log, self.device, self.group = config, run, log, device, group
        self.workers = workers
        self.metadata = metadata_for(config)
        self.seconds = 0.0  # that the last evaluation took

    def is_due(self, state: State, total: int, evaluations: int) -> bool:
        """Tells whether an evaluation is due: evenly spread, the end included.

        A training that starts with a probe evaluates it before the first step, so that its best
        weights are never worse. An evaluation that a signal interrupted is still due when the run
        resumes.
        """
        if state.images_seen == 0:
            return self.config.recipe.head == "probe" and state.evaluated < 0
        before = max(0, state.evaluated)
        return state.images_seen * evaluations // total > before * evaluations // total

    def evaluate(self, state: State) -> list[EvalCounts]:
        """Returns the counts of this process's part of the split: EMA weights, raw weights."""
        start = time.monotonic()
        ema_network = build(self.config.spec, initialised=False).to(self.device)
        ema_network.load_state_dict(state.ema.averages, assign=True)
        ema_network = ema_network.to(memory_format=torch.channels_last)
        counts = count_correct(
            (ema_network, state.network),
            self.config.images.validation,
            self.config.preprocessing,
            self.device,
            self.group,
            self.workers,
        )
        self.seconds = time.monotonic() - start
        return counts

    def reduce(self, counts: list[EvalCounts] | None) -> tuple[EvalResult, EvalResult] | None:
        """Adds the counts of all processes; returns None where a signal stopped one of them."""
        self.group.barrier()
        all_counts = self.group.all_gather(counts)
        parts = [part for part in all_counts if part is not None]
        if len(parts) < len(all_counts):
            return None
        ema, raw = zip(*parts, strict=True)
        return reduce_counts(ema), reduce_counts(raw)

    def record(self, state: State, ema: EvalResult, raw: EvalResult) -> None:
        """Writes an evaluation to the log and the state, and the weights if they are the best."""
        if self.log:
            self.log.evaluation(
                state,
                validation_top1=ema.top1,
                raw_top1=raw.top1,
                validation_cross_entropy=ema.cross_entropy,
            )
        state.evaluated = state.images_seen
        state.stale += 1
        if ema.top1 <= state.best_top1:
            return
        state.best_top1, state.stale = ema.top1, 0
        metrics = {
            "validation": {
                "top1": ema.top1,
                "interval": list(ema.interval),
                "images": ema.images,
                "images_seen": state.images_seen,
                "weights": "moving average",
            }
        }
        if self.group.is_rank0:
            metadata = replace(self.metadata, metrics=metrics)
            save(self.run / WEIGHTS, state.ema.averages, metadata)
