"""Reports steps and evaluations to the log, the trackers and the callbacks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from phiscale.training.callbacks import AnyCallback, Progress, as_callbacks
from phiscale.training.evaluate import EvalResult
from phiscale.training.log import Log, Meter, memory_bytes
from phiscale.training.state import State


class Reporter:
    """Writes steps to the log and the trackers, and calls the callbacks."""

    def __init__(
        self,
        state: State,
        meter: Meter,
        log: Log | None,
        callbacks: Sequence[AnyCallback],
        device: torch.device,
        total: int,
    ):
        self.state, self.meter, self.log, self.device = state, meter, log, device
        self.callbacks, self.total = as_callbacks(callbacks), total
        self.loss = self.lr = math.nan  # of the last step

    def step(self, *, loss: float, lr: float, gradient_norm: float, saving_share: float) -> None:
        """Reports an update of the weights."""
        self.loss, self.lr = loss, lr
        if self.log is not None:
            self.log.step(
                self.state,
                self.meter,
                loss=loss,
                lr=lr,
                gradient_norm=gradient_norm,
                saving_share=saving_share,
            )
        for callback in self.callbacks:
            callback.on_step(self._progress())

    def evaluation(self, ema: EvalResult, raw: EvalResult) -> None:
        """Reports an evaluation of the EMA weights and of the raw ones; the log has it already."""
        for callback in self.callbacks:
            callback.on_evaluation(self._progress(validation_top1=ema.top1, raw_top1=raw.top1))

    def _progress(self, **validation: float) -> Progress:
        return Progress(
            images_seen=self.state.images_seen,
            total=self.total,
            loss=self.loss,
            learning_rate=self.lr,
            images_per_s=self.meter.images_per_s,
            wait_share=self.meter.wait_share,
            memory_bytes=memory_bytes(self.device),
            **validation,
        )
