"""Class activation maps of the arms, drawn by untrained networks."""

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
from phiscale.search.study.cams import draw_cams
from phiscale.search.study.plan import Outcome, ScalingStudy
from phiscale.search.study.presets import PRESETS
from phiscale.search.study.request import StudyRequest, plan_study
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
                path = tmp_path / "images" / part / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random.integers(0, 255, (32, 32, 3), np.uint8)).save(path)
    out, data = tmp_path / "s", str(tmp_path / "images")
    dataset = dataset_info(data, out)
    plan = plan_study(data, PRESETS["smoke"], StudyRequest(seeds=2), dataset)
    outcome = complete_plan(plan, out, lambda trial: 0.3, dataset.test_labels)
    for arm in plan.arms:
        if arm.name in ("base", "resolution"):
            torch.manual_seed(0)
            spec = arm.network.spec
            preprocessing = Preprocessing(size=spec.resolution, crop=1.0)
            metadata = ModelMetadata(
                spec=spec, classes=dataset.classes, preprocessing=preprocessing
            )
            run = out / "trainings" / outcome.runs[arm.name, 0].key
            save(run / "best.safetensors", build(spec).state_dict(), metadata)
    return plan, outcome, RunnerConfig(out=out)


def test_the_report_has_the_maps_as_one_png_the_same_every_time(study):
    cams = draw_cams(*study)
    assert cams is not None
    files = page_files("T", "c", [cams.section])
    content = files["figures/maps.png"]
    assert isinstance(content, bytes)
    drawn = Image.open(io.BytesIO(content))
    assert drawn.format == "PNG" and drawn.width > 200 and drawn.height > 200
    assert draw_cams(*study) == cams


def test_maps_of_the_report_do_not_show_the_images_and_the_other_page_does(study):
    cams = draw_cams(*study)
    assert cams is not None and cams.page.count("<img") == 1
    assert len(cams.page) > 1.2 * len(cams.section.figures[0].markup), (
        "noise takes more bytes than grey"
    )


def test_without_weights_or_images_there_are_no_maps(study, tmp_path):
    plan, outcome, runner = study
    elsewhere = RunnerConfig(out=tmp_path / "elsewhere")
    assert draw_cams(plan, outcome, elsewhere) is None
    (tmp_path / "images").rename(tmp_path / "gone")
    assert draw_cams(plan, outcome, runner) is None
