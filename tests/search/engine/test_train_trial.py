"""What a training's log says becomes the result of its trial."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from phiscale.arch.families import get_spec
from phiscale.data.datasets.open import open_dataset
from phiscale.data.preprocessing import Preprocessing
from phiscale.search.engine import train_trial as engine
from phiscale.search.engine.trial import Trial
from phiscale.training.recipes.recipe import Recipe
from phiscale.training.runtime import Runtime

EVALUATIONS = [(64, 0.5, 1.6), (128, 0.75, 0.9), (192, 0.75, 0.8), (256, 0.625, 1.1)]
"""Images seen, top-1 and cross-entropy: the second evaluation is the first of the best."""


def test_the_validation_error_is_that_of_the_weights_that_were_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Test predictions come from best.safetensors, so the errors of a result come from it too."""

    def train(run: Path, *_: object) -> Path:
        records = [
            {"images_seen": 256, "loss": 1.0, "seconds": 3.0},
            *(
                {
                    "images_seen": seen,
                    "seconds": 3.0,
                    "validation_top1": top1,
                    "validation_cross_entropy": loss,
                }
                for seen, top1, loss in EVALUATIONS
            ),
        ]
        (run / "log.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in records))
        return run / "best.safetensors"

    monkeypatch.setattr(engine, "train", train)
    trial = Trial(
        name="one",
        spec=replace(get_spec("small"), resolution=8),
        recipe=Recipe(),
        preprocessing=Preprocessing(size=8),
        data="fingerprint",
        threads=torch.get_num_threads() + 1,
    )
    before = torch.get_num_threads()
    result = engine.train_trial(trial, open_dataset("digits"), tmp_path, Runtime())
    assert (result.validation_error, result.validation_loss) == (0.25, 0.9)
    assert result.images_seen == 256  # of the whole training
    assert torch.get_num_threads() == before  # a lone worker is the host's own process
