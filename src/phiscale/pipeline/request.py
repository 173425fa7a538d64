"""What a `fit` is asked for: a folder holds the answer to one request only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from phiscale.arch.families import get_spec
from phiscale.data.datasets.dataset import ImageSet
from phiscale.data.datasets.open import open_dataset
from phiscale.errors import CheckpointError, PhiscaleError, UsageError
from phiscale.files import Format, added_field, differences, remove_partial_files, sha256
from phiscale.files.run_files import CHOICE, COEFFICIENTS, DEVICE, LAW, REQUEST
from phiscale.files.values import check_at_least, check_one_of, check_range, check_trains
from phiscale.planning.budget import Budget
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceModel
from phiscale.planning.laws import Law
from phiscale.weights.locate import AUTO, NONE
from phiscale.weights.sources import weights_files
from phiscale.weights.store import read as read_weights


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments of a `fit` that decide its result."""

    data: str
    budget: Budget
    base: str | None = None
    pretrained: tuple[str, ...] = ()
    from_scratch: bool = True
    law: str | None = None
    coefficients: str | None = None
    device_model: str | None = None
    on_bad: str = "stop"
    min_epochs: float | None = None
    device: str = "auto"
    seed: int = 0
    max_megapixels: float | None = added_field(None)
    value_range: tuple[float, float] | None = added_field(None)

    @property
    def targets_other_device(self) -> bool:
        """Whether the model is to run on another device than this one."""
        return self.device_model is not None

    @property
    def known_weights(self) -> bool:
        """Whether the pretrained weights at hand compete."""
        return AUTO in self.pretrained

    def check(self) -> None:
        """Raises UsageError where arguments contradict each other or are out of range."""
        if not self.from_scratch and not self.pretrained:
            raise UsageError(
                "`from_scratch=False` leaves no network to choose. Add `pretrained`, such as "
                'pretrained="auto".'
            )
        if not self.from_scratch and self.coefficients:
            raise UsageError(
                "`coefficients` choose among scalings, which `from_scratch=False` leaves out. "
                "Drop one."
            )
        check_trains(min_epochs=self.min_epochs)
        check_one_of(("stop", "skip"), on_bad=self.on_bad)
        check_at_least(0, seed=self.seed)
        check_range(value_range=self.value_range)


FORMAT = Format(
    Request,
    "phiscale_request",
    CheckpointError,
    "Restore it, or use another `out`.",
)


def pretrained_sources(named: Sequence[str]) -> tuple[str, ...]:
    """Returns the sources of weights that compete: those at hand (`auto`) where none is named.

    `none` stands for no pretrained weights. UsageError: it stands beside others.
    """
    if NONE in named and len(named) > 1:
        raise UsageError("`pretrained` names weights and `none`. Drop one.")
    return () if NONE in named else tuple(named) or (AUTO,)


@dataclass(frozen=True, kw_only=True)
class InMemoryInputs:
    """Inputs that `fit` was called with as objects. The request names them by their contents."""

    device_model: DeviceModel | None = None
    law: Law | None = None
    coefficients: Coefficients | None = None

    def write(self, out: Path) -> None:
        """Writes law.json and found.json into the folder; its device.json is written later."""
        if self.law is not None:
            self.law.write(out / LAW)
        if self.coefficients is not None:
            self.coefficients.write(out / COEFFICIENTS)


def content_name(value: DeviceModel | Law | Coefficients) -> str:
    """Returns the name that a request has for a value: equal values have equal names."""
    content = json.dumps(value.to_dict(), sort_keys=True).encode()
    return f"{type(value).__name__} sha256:{sha256(content)}"


@dataclass(frozen=True, kw_only=True)
class LoadedInputs:
    """Everything that a request names, read from files or taken from memory."""

    images: ImageSet
    device_model: DeviceModel | None
    law: Law | None
    coefficients: Coefficients | None
    pretrained: dict[str, Path]  # weights files by the names that they compete under


def load_inputs(request: Request, in_memory: InMemoryInputs) -> LoadedInputs:
    """Reads everything that the request names, before a folder is made or anything is measured."""
    if request.base is not None:
        get_spec(request.base)
    weights: dict[str, Path] = {}
    for source in request.pretrained:
        for name, path in weights_files(source).items() if source != AUTO else ():
            weights[str(path) if name in weights else name] = path
    for path in weights.values():
        read_weights(path)
    device_model, law = in_memory.device_model, in_memory.law
    coefficients = in_memory.coefficients
    if device_model is None and request.device_model:
        device_model = DeviceModel.read(Path(request.device_model))
    if coefficients is None and request.coefficients:
        coefficients = Coefficients.read(request.coefficients)
    if law is None and request.law:
        law = Law.read(Path(request.law))
    return LoadedInputs(
        images=open_dataset(request.data, max_megapixels=request.max_megapixels),
        device_model=device_model,
        law=law,
        coefficients=coefficients,
        pretrained=weights,
    )


def begin_or_resume(request: Request, out: Path) -> None:
    """Writes the request into its folder. Once a network is selected, only an equal request may
    follow: raises CheckpointError for another one."""
    remove_partial_files(out)
    path, selected = out / REQUEST, (out / CHOICE).exists()
    before, begun = None, path.exists()
    with nullcontext() if selected else suppress(PhiscaleError):  # damaged: written anew
        before = FORMAT.read(path, required=True) if begun else None
    if before == request:
        return
    if before is not None and selected:
        changed = _changes(before, request)
        raise CheckpointError(
            f"{out} holds a result of other arguments: {'; '.join(changed[:5])}. "
            "Use the same arguments to resume it, or another `out`."
        )
    if begun and (before is None or before.device_model != request.device_model):
        (out / DEVICE).unlink(missing_ok=True)
    FORMAT.write(path, request)


def _changes(before: Request, now: Request) -> list[str]:
    """Returns each argument that differs: `macs=None -> 5`."""
    return [
        f"{each.name.removeprefix('budget.')}={each.before} -> {each.after}"
        for each in differences(FORMAT.encode(before), FORMAT.encode(now))
    ]
