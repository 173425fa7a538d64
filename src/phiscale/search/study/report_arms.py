"""The arms of a scaling study, and the paper's Table 7 beside them: sections of its report."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec
from phiscale.arch.families.published import TABLE_7
from phiscale.arch.scaling import scale
from phiscale.report.page import Section
from phiscale.search.study.arms import Arm
from phiscale.search.study.completed import CompletedStudy
from phiscale.search.study.plan import ScalingStudy
from phiscale.search.study.report_verdict import points
from phiscale.search.study.verdict import StudyVerdict


def arms_section(study: CompletedStudy) -> Section:
    """Every arm: its network, its learning rate, its accuracies and its cost."""
    return Section(
        title="Arms",
        rows=[_arm_row(study, arm) for arm in study.plan.arms],
        text=[
            f"{' and '.join(names)} are one network here: rounding leaves no difference, and they "
            "share their runs."
            for names in _same_networks(study.plan)
        ],
        note="Depth: blocks over the base's. Width: root mean square of channels over the base's. "
        "MACs are exact. ms: median latency of one image, batch 1, exported model in ONNX Runtime "
        "on this machine's CPU, in interleaved rounds. symmetric: the equal-split baseline. "
        "longer: the base, trained for more epochs.",
    )


def _arm_row(study: CompletedStudy, arm: Arm) -> dict[str, Any]:
    network, results, runs = arm.network, study.arms[arm.name], study.outcome.of(arm.name)
    costs, recipe = cost(network.spec), study.outcome.recipe_of(arm.name)
    accuracies = np.mean(results.correct, axis=1)
    several_drop_paths = len(study.plan.tuning.drop_paths) > 1
    return {
        "arm": arm.name,
        "depth": f"x{network.by.depth:.3g}",
        "width": f"x{network.by.width:.3g}",
        "pixels": network.spec.resolution,
        "MACs": f"{costs.macs / 1e6:.2f}M",
        "over base": f"x{network.compute_ratio:.2f}",
        "activations": f"{costs.activations / 1e3:.0f}k",
        "params": f"{costs.params / 1e3:.0f}k",
        "ms": f"{study.latencies_ms[arm.name]:.2f}",
        "epochs": f"{arm.epochs:g}",
        "lr": f"{recipe.optim.lr_peak:g}",
        **({"drop path": f"{recipe.drop_path:g}"} if several_drop_paths else {}),
        "test top-1, %": f"{100 * accuracies.mean():.2f}",
        "seed sd": f"{100 * accuracies.std(ddof=1):.2f}",
        "validation top-1, %": f"{100 * float(np.mean(results.validation)):.2f}",
        "core s per run": f"{statistics.fmean(run.cpu_seconds for run in runs):.0f}",
    }


def _same_networks(plan: ScalingStudy) -> list[list[str]]:
    names: dict[Any, list[str]] = {}
    for arm in plan.arms:
        names.setdefault((arm.network.spec, arm.epochs), []).append(arm.name)
    return [each for each in names.values() if len(each) > 1]


def paper_section(study: CompletedStudy, verdict: StudyVerdict) -> Section:
    """Gains over the base, the paper's and ours."""
    ours = {arm.name: arm for arm in verdict.arms}
    specs = {arm.name: arm.network.spec for arm in study.plan.arms}
    paper = {arm.name: arm for arm in TABLE_7}
    base = get_spec("efficientnet_b0")
    rows: list[dict[str, str]] = []
    for name, published in paper.items():
        arm = ours.get("base" if name == "baseline" else name)
        if arm is None or published.scaling is None:
            continue
        exact = cost(scale(base, published.scaling)).macs
        rows.append(
            {
                "arm": name,
                "paper: MACs": f"{published.macs / 1e9:.1f}G",
                "exact": f"{exact / 1e9:.2f}G",
                "paper: top-1, %": f"{100 * published.top1:.1f}",
                "gain": points(published.top1 - paper["baseline"].top1),
                "ours: MACs": f"{cost(specs[arm.name]).macs / 1e6:.2f}M",
                "ours: top-1, %": f"{100 * arm.accuracy:.2f}",
                "our gain": points(arm.accuracy - ours["base"].accuracy),
            }
        )
    return Section(
        title="Paper's Table 7 beside ours",
        rows=rows,
        note="Paper: EfficientNet-B0 on ImageNet (arXiv:1905.11946v5, Table 7), one run each; its "
        "arms differ by up to 24 % of exact MACs. Ours: each within 3 % of its target, other "
        "images, shorter training.",
    )
