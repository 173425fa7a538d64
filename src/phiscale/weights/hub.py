"""Weights on the Hugging Face hub: fetched and cached by its own client, read, and pushed."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlparse
from urllib.request import getproxies

from safetensors.torch import save_file

from phiscale.data.preprocessing import Preprocessing, triple
from phiscale.errors import DataError, UsageError, WeightsError
from phiscale.files import read_json
from phiscale.weights.aliases import describe_difference
from phiscale.weights.metadata import ModelMetadata
from phiscale.weights.peers import to_theirs
from phiscale.weights.store import read, save

OURS, THEIRS = "phiscale.safetensors", "model.safetensors"
FILES = (OURS, THEIRS, "pytorch_model.bin")  # the first that a repository has
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, kw_only=True)
class Repo:
    """Weights in a repository, and its config.json."""

    weights: Path
    config: Mapping[str, Any]

    @property
    def architecture(self) -> str:
        return str(self.config.get("architecture", ""))

    @property
    def licence(self) -> str:
        return str(self._pretrained.get("license") or self.config.get("license") or "")

    @property
    def classes(self) -> tuple[str, ...] | None:
        named = self.config.get("label_names") or self._pretrained.get("label_names")
        if isinstance(named, Mapping):
            named = [named[key] for key in sorted(named, key=lambda key: (len(key), key))]
        return tuple(map(str, named)) if named else None

    @property
    def preprocessing(self) -> Preprocessing | None:
        """The preprocessing of evaluation; None where config.json lacks part of it."""
        config = self._pretrained
        try:
            size = config.get("test_input_size") or config["input_size"]
            return Preprocessing(
                size=int(size[-1]),
                crop=float(config.get("test_crop_pct") or config["crop_pct"]),
                interpolation=config["interpolation"],
                mean=triple(config["mean"]),
                std=triple(config["std"]),
                squash=config.get("test_crop_mode", config.get("crop_mode")) == "squash",
            )
        except (KeyError, TypeError, ValueError, IndexError, DataError):
            return None

    @property
    def _pretrained(self) -> Mapping[str, Any]:
        config = self.config.get("pretrained_cfg", self.config)
        return config if isinstance(config, Mapping) else {}


def local_repo(folder: Path) -> Repo | None:
    """Returns the repository in a folder; None where the folder is not laid out as one."""
    weights = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if weights is None or not (folder / "config.json").is_file():
        return None
    return _repo(weights, folder / "config.json")


def _repo(weights: Path, config: Path) -> Repo:
    config = read_json(config)
    return Repo(weights=weights, config=config if isinstance(config, Mapping) else {})


def fetch(name: str) -> Repo:
    """Fetches `ORG/NAME[@REVISION]` from the hub, or from the cache where there is no connection.

    WeightsError: it is not there. UsageError: it is no name on the hub.
    """
    repo, _, revision = name.partition("@")
    if not _REPO.fullmatch(repo) or ".." in repo:
        raise UsageError(f"hf-hub:{name} is no name on the hub. Write hf-hub:ORG/NAME.")
    from huggingface_hub import constants, errors, hf_hub_download

    online = is_reachable(constants.ENDPOINT)
    options = {"revision": revision or None, "local_files_only": not online}

    def download(file: str) -> Path | None:
        try:
            return Path(hf_hub_download(repo, file, **options))
        except errors.EntryNotFoundError as error:
            if online and isinstance(error, errors.LocalEntryNotFoundError):
                raise  # the connection was lost
            return None

    try:
        config = download("config.json")  # timm's own cache has none
        for file in FILES:
            if (weights := download(file)) is not None:
                return _repo(weights, config) if config else Repo(weights=weights, config={})
    except errors.RepositoryNotFoundError:
        raise WeightsError(
            f"there is no {repo} on {constants.ENDPOINT}, or it is private. "
            "Check the name, or log in with hf auth login."
        ) from None
    except errors.HFValidationError:
        raise UsageError(f"hf-hub:{name} is no name on the hub. Write hf-hub:ORG/NAME.") from None
    except OSError as error:
        if online:
            line = str(error).strip().splitlines()[0][:100]
            raise WeightsError(f"hf-hub:{name}: {line}. Try again.") from None
    if online:
        raise WeightsError(
            f"hf-hub:{name}: the repository has none of {', '.join(FILES)}. Name another one."
        )
    raise WeightsError(
        f"hf-hub:{name}: no weights in the cache, and the hub cannot be reached. Connect once, or "
        "fetch the repository elsewhere and give its folder."
    )


def check_reachable(url: str, what: str, fix: str) -> None:
    """Raises WeightsError where a host cannot be reached. `what`, `fix`: parts of the message."""
    if not is_reachable(url):
        raise WeightsError(f"{what}: {urlparse(url).hostname} cannot be reached. {fix}")


def is_reachable(endpoint: str) -> bool:
    """Tells by one name lookup whether a host can be reached; the client would try for 30 s.

    Behind a proxy, which looks names up itself, every host counts as reachable. With
    HF_HUB_OFFLINE=1, the hub's own variable, none does.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    if getproxies():
        return True
    try:
        socket.getaddrinfo(urlparse(endpoint).hostname, 443)
    except OSError:
        return False
    return True


def push(weights: Path, repo: str, *, private: bool = False, client: Any = None) -> str:
    """Uploads a weights file of phiscale as a repository that timm reads too.

    Returns its address. WeightsError: the hub refuses. `client` stands in for huggingface_hub's.
    """
    if not _REPO.fullmatch(repo):
        raise UsageError(f"{repo!r} is no name on the hub. Write ORG/NAME.")
    if client is None:
        from huggingface_hub import HfApi, constants

        check_reachable(constants.ENDPOINT, repo, "Connect and try again.")
        client = HfApi()
    with TemporaryDirectory() as folder:
        write_repo(weights, Path(folder), repo)
        try:
            address = client.create_repo(repo, private=private, exist_ok=True)
            client.upload_folder(
                repo_id=repo, folder_path=folder, commit_message="Weights from phiscale"
            )
        except OSError as error:
            line = str(error).strip().splitlines()[0][:100]
            raise WeightsError(f"{repo}: {line}. Log in with hf auth login.") from None
    return str(address)


def write_repo(weights: Path, folder: Path, repo: str) -> None:
    """Writes a repository: phiscale's weights file, config.json and a model card.

    Where timm has the network, the weights are also written under timm's names.
    """
    metadata, tensors = read(weights)
    save(folder / OURS, tensors, metadata)
    preprocessing = metadata.preprocessing
    config: dict[str, Any] = {
        "num_classes": metadata.spec.classes,
        "label_names": list(metadata.classes),
        "pretrained_cfg": {
            "input_size": [metadata.spec.in_channels, preprocessing.size, preprocessing.size],
            "crop_pct": preprocessing.crop,
            "crop_mode": "squash" if preprocessing.squash else "center",
            "interpolation": preprocessing.interpolation,
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "num_classes": metadata.spec.classes,
            "license": metadata.licence,
        },
        "phiscale": metadata.to_dict(),
    }
    member = metadata.member
    if not describe_difference("timm", metadata.spec) and not member.endswith("_tv"):
        config = {"architecture": member, **config}
        named = to_theirs("timm", metadata.spec, tensors)
        save_file({k: t.contiguous() for k, t in named.items()}, folder / THEIRS, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    (folder / "README.md").write_text(_model_card(metadata, repo), encoding="utf-8")


def _model_card(metadata: ModelMetadata, repo: str) -> str:
    metrics = "\n".join(f"- {name}: {value}" for name, value in metadata.metrics.items())
    return f"""---
tags: [image-classification, phiscale]
library_name: phiscale
license: {metadata.licence or "other"}
---
# {repo.partition("/")[2]}

{metadata.member or "A network"} with {metadata.spec.classes} classes,
{metadata.spec.resolution} px.
{metadata.origin}

    import phiscale
    network = phiscale.load("hf-hub:{repo}")

Images: {metadata.preprocessing.summary()}, of values in [0, 1].

Metrics:
{metrics or "none are recorded."}
"""
