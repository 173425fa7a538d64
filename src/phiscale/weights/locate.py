"""Finds the weights that a SOURCE names, and what is known about them from where they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import NoReturn
from urllib.error import URLError

import torch
from torch import Tensor

from phiscale.arch.families import MEMBERS
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import UsageError, WeightsError
from phiscale.files.run_files import WEIGHTS
from phiscale.weights import hub
from phiscale.weights.aliases import member_of
from phiscale.weights.hub import Repo, local_repo
from phiscale.weights.imagenet import class_names
from phiscale.weights.packaged import PACKAGED
from phiscale.weights.pretrained import PretrainedWeights, pretrained_weights, weights_of_member

HUB, TORCHVISION = "hf-hub:", "torchvision:"
AUTO, NONE = "auto", "none"  # what a `fit` takes instead of a SOURCE: what is at hand, or nothing


@dataclass(frozen=True, kw_only=True)
class WeightsSource:
    """A file of another library, and what the place that it comes from says about it."""

    path: Path
    hint: str = ""  # a network's name
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] | None = None
    licence: str = ""
    fetch: Callable[[], Mapping[str, Tensor]] | None = None  # for a library that reads its files


def path_of(source: str | Path) -> Path:
    """Returns the path of a source; for a folder, the path of a run's weights in it.

    WeightsError: it is a named pipe, a device or a socket, which might never end.
    """
    path = Path(source)
    path = path / WEIGHTS if path.is_dir() else path
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise WeightsError(f"{path} is a pipe, a device or a socket. Give a regular file.")
    return path


def locate(source: str) -> WeightsSource:
    """Finds the weights that a SOURCE names: a file, a repository's folder, a hub, a model.

    A file on a hub is fetched. WeightsError: there are none, or they cannot be fetched.
    UsageError: the name cannot be one.
    """
    if source.startswith(HUB):
        return _on_hub(source.removeprefix(HUB))
    if source.startswith(TORCHVISION):
        return _in_torchvision(source.removeprefix(TORCHVISION))
    path = Path(source)
    if path.is_dir():
        repo = local_repo(path)
        if repo is None:
            raise WeightsError(
                f"no weights in {path}: neither a run's {WEIGHTS} nor a repository's "
                "config.json and model.safetensors. Give a weights file or the folder of a run."
            )
        return _in_repo(repo)
    if path.exists() or path.with_name(f"{path.name}.index").exists():
        return WeightsSource(path=path)
    if source in PACKAGED and (packaged := PACKAGED[source].path()) is not None:
        return WeightsSource(path=packaged, hint=source, licence=PACKAGED[source].licence)
    if source.partition(".")[0] in MEMBERS:
        return locate((weights_of_member(source) or refuse_tag(source))[0].source)
    raise WeightsError(
        f"no weights at {source}. Give a file, a run, hf-hub:NAME, torchvision:NAME, or a model "
        "with known weights (phiscale models --json lists them)."
    )


def refuse_tag(name: str) -> NoReturn:
    """Raises the UsageError for a `MODEL.TAG` without weights, with the tags that there are."""
    tags = ", ".join(row.tag for row in weights_of_member(name.partition(".")[0])) or "none"
    raise UsageError(f"no pretrained weights {name} are known. Known tags: {tags}.")


def _on_hub(name: str) -> WeightsSource:
    """Finds weights on the hub. The table of known weights completes their config.json."""
    located = _in_repo(hub.fetch(name))
    address = f"{HUB}{name.partition('@')[0]}"
    row = next((row for row in pretrained_weights() if row.source == address), None)
    if row is None:
        return located
    return replace(
        located,
        hint=located.hint or row.member,
        licence=located.licence or row.licence,
        preprocessing=located.preprocessing or row.preprocessing,
    )


def _in_repo(repo: Repo) -> WeightsSource:
    return WeightsSource(
        path=repo.weights,
        hint=repo.architecture,
        preprocessing=repo.preprocessing,
        classes=repo.classes,
        licence=repo.licence,
    )


def _in_torchvision(name: str) -> WeightsSource:
    row = _torchvision_row(name)
    from torchvision.models import get_model_weights

    weights = get_model_weights(name.partition(".")[0])[row.tag]

    def fetch() -> Mapping[str, Tensor]:
        fix = f"Connect once, or give the file of {weights.url}."
        cached = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
        if not cached.exists():
            hub.check_reachable(weights.url, f"{TORCHVISION}{name}", fix)
        try:
            return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except (URLError, OSError, RuntimeError, UnpicklingError):  # RuntimeError: a wrong hash
            raise WeightsError(
                f"{TORCHVISION}{name} cannot be fetched, or {cached} is damaged. {fix}"
            ) from None

    return WeightsSource(
        path=Path(weights.url),
        hint=row.member,
        preprocessing=row.preprocessing,
        classes=class_names(row.classes),
        licence=row.licence,
        fetch=fetch,
    )


def _torchvision_row(name: str) -> PretrainedWeights:
    """Returns the row of the table for torchvision's `resnet50` or `resnet50.IMAGENET1K_V1`."""
    network, _, tag = name.partition(".")
    member = member_of("torchvision", network)
    for row in weights_of_member(f"{member}.{tag or '*'}"):
        if row.source.startswith(TORCHVISION):
            return row
    raise UsageError(
        f"phiscale has no {TORCHVISION}{name}. Write a name such as torchvision:resnet50 or "
        "torchvision:resnet50.IMAGENET1K_V1."
    )
