"""Where the arms look, drawn by networks that nobody has trained."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from phiscale.data.preprocessing import Preprocessing
from phiscale.nn.network import build
from phiscale.report.page import page_files
from phiscale.search.engine.folder import dataset_info
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.study import run as studies
from phiscale.search.study.cams import cams
from phiscale.search.study.plan import Outcome, ScalingStudy
from phiscale.search.study.presets import PRESETS
from phiscale.weights.metadata import ModelMetadata
from phiscale.weights.store import save
from support.synthetic import complete_plan


@pytest.fixture
def study(tmp_path: Path) -> tuple[ScalingStudy, Outcome, RunnerConfig]:
    """Two classes, and the weights of two arms."""
    random = np.random.default_rng(0)
    for name in ("a_$1", "b"):
        for number in range(20):
            for part in ("train", "test"):
                path = tmp_path / "pictures" / part / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random.integers(0, 255, (32, 32, 3), np.uint8)).save(path)
    out, data = tmp_path / "s", str(tmp_path / "pictures")
    dataset = dataset_info(data, out)
    plan = studies.plan_for(data, PRESETS["smoke"], studies.StudyRequest(seeds=2), dataset)
    outcome = complete_plan(plan, out, lambda trial: 0.3, dataset.test_labels)
    for arm in plan.arms:
        if arm.name in ("base", "resolution"):
            torch.manual_seed(0)
            taken = Preprocessing(size=arm.spec.resolution, crop=1.0)
            metadata = ModelMetadata(spec=arm.spec, classes=dataset.classes, preprocessing=taken)
            key = outcome.runs[arm.name, 0].key
            save(
                out / "trainings" / key / "best.safetensors", build(arm.spec).state_dict(), metadata
            )
    return plan, outcome, RunnerConfig(out=out)


def test_maps_stand_in_the_report_as_one_png_that_says_whose_they_are(study):
    found = cams(*study)
    assert found is not None
    files = page_files("T", "c", [found.section])
    content = files["figures/maps.png"]
    assert isinstance(content, bytes)
    drawn = Image.open(io.BytesIO(content))
    assert drawn.format == "PNG" and drawn.width > 200 and drawn.height > 200
    assert cams(*study) == found  # to the byte


def test_maps_of_the_report_say_nothing_of_the_pictures_and_the_other_page_shows_them(study):
    found = cams(*study)
    assert found is not None and found.page.count("<img") == 1
    assert len(found.page) > 1.2 * len(found.section.figures[0].markup), (
        "noise takes more bytes than grey"
    )


def test_without_weights_or_pictures_there_are_no_maps(study, tmp_path):
    plan, outcome, runner = study
    elsewhere = RunnerConfig(out=tmp_path / "elsewhere")
    assert cams(plan, outcome, elsewhere) is None
    (tmp_path / "pictures").rename(tmp_path / "gone")
    assert cams(plan, outcome, runner) is None
