"""What phiscale does from Python without torch: `python core_calls.py FIT IMAGE`.

FIT is the folder of a `fit`. It runs where phiscale-core alone is installed, so it imports nothing
else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import phiscale
from phiscale.errors import PhiscaleError

NEED_MORE = (
    "build",
    "compare_rates",
    "compare_spaces",
    "create_model",
    "export",
    "fit",
    "import_weights",
    "load",
    "predict_family",
    "save",
    "scaling_study",
    "search_coefficients",
    "train",
)


def works(fit: str, image: str) -> None:
    """Calls what needs no torch."""
    for name in set(phiscale.__all__) - set(NEED_MORE):
        assert getattr(phiscale, name) is not None
    assert "efficientnet_b0" in phiscale.list_models("efficientnet_b?")
    assert phiscale.list_models("resnet50", pretrained=True)
    run = phiscale.Run(fit)
    assert phiscale.cost(run.spec).params and 0 <= run.metrics["top1"] <= 1
    assert run.recipe.batch and run.history and run.report
    assert run.metadata.spec == run.spec and run.metadata.metrics["validation"]
    run.predict(image)
    phiscale.predict(Path(fit) / "model.onnx", image)
    assert phiscale.solve("small", phiscale.Budget(macs=1e6))
    assert "MACs" in str(phiscale.deviation("efficientnet_b?"))
    assert str(phiscale.fit_law("efficientnet"))


def calls_that_need_more(fit: str) -> dict[str, Callable[[], Any]]:
    """Calls of the rest, by the words that begin their error."""
    run = phiscale.Run(fit)
    law, page = phiscale.fit_law("efficientnet"), phiscale.deviation("efficientnet_b?")
    weights = run.weights
    return {
        **{f"phiscale.{name} ": lambda name=name: getattr(phiscale, name) for name in NEED_MORE},
        "phiscale.calibrate ": phiscale.calibrate,
        "the set cifar10 ": lambda: phiscale.open_dataset("cifar10"),
        f"running {weights} ": lambda: phiscale.predict(weights, []),
        "Run.load ": run.load,
        "Run.export ": run.export,
        "drawing a law ": lambda: law.draw("law.svg"),
        "the page of a deviation ": page.to_html,
    }


def main(fit: str, image: str) -> None:
    works(fit, image)
    for start, call in calls_that_need_more(fit).items():
        try:
            call()
        except PhiscaleError as error:
            line = str(error)
            assert isinstance(error, ImportError) and line.startswith(f"{start}needs "), line
            assert line.endswith(". Install it with: pip install phiscale"), line
        else:
            raise AssertionError(f"{start}works without torch")


if __name__ == "__main__":
    main(*sys.argv[1:])
