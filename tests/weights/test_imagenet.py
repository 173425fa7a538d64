"""Classes of an ImageNet model and of a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from phiscale.arch.families import get_spec
from phiscale.data.preprocessing import Preprocessing
from phiscale.deploy.inference import evaluate_model
from phiscale.nn.network import build
from phiscale.weights import imagenet
from phiscale.weights.metadata import ModelMetadata
from phiscale.weights.store import save

pytestmark = pytest.mark.usefixtures("empty_cache")


def test_classes_are_matched_by_name_or_by_wordnet_id():
    ids = ("n01440764", "n02102040")  # tench, English springer
    assert imagenet.class_indices(imagenet.imagenet_classes(), ids) == [0, 217]
    assert [imagenet.imagenet_classes()[place] for place in (0, 217)] == [
        "tench",
        "English springer",
    ]
    assert imagenet.class_indices(("b", "a"), ("a", "b")) == [1, 0]
    assert imagenet.class_indices(("b", "a"), ("a", "c")) is None
    assert imagenet.class_indices(("caf\u00e9", "a"), ("a", "cafe\u0301")) == [1, 0]
    assert imagenet.class_indices(("b", "a"), ids) is None
    assert len(set(imagenet.imagenet_classes())) == 1000


def test_an_imagenet_network_is_evaluated_on_folders_named_by_wordnet_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    for name in ("n01440764", "n02102040"):
        for number in range(10):
            path = tmp_path / "val" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(
                np.random.default_rng(number).integers(0, 255, (40, 40, 3)).astype(np.uint8)
            ).save(path)
    spec = replace(get_spec("small"), classes=1000)
    torch.manual_seed(0)
    network = build(spec)
    with torch.no_grad():
        network.classifier.get_parameter("bias")[0] = 9  # tench among the two ...
        network.classifier.get_parameter("bias")[999] = 99  # ... whatever the others say
    metadata = ModelMetadata(
        spec=spec, preprocessing=Preprocessing(size=32), classes=imagenet.imagenet_classes()
    )
    save(tmp_path / "net.safetensors", network.state_dict(), metadata)
    caplog.set_level("INFO", "phiscale.deploy")
    evaluation = evaluate_model(tmp_path / "net.safetensors", tmp_path / "val", device="cpu")
    labels = evaluation.split.labels
    assert evaluation.classes == ("n01440764", "n02102040")
    assert evaluation.logits.shape == (len(labels), 2)
    assert evaluation.metrics.top1 == np.mean(labels == 0)
    messages = caplog.messages
    assert "answers among the data's 2 classes alone" in messages[0] and "knows 1000" in messages[0]
    assert "10 % test" in messages[1]  # nobody had split them
