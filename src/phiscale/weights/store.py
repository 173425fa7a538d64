"""Weights that say what they are: safetensors whose header carries all that loading needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import PhiscaleError, WeightsError
from phiscale.families import name_of
from phiscale.files import write_atomic
from phiscale.nn.network import Network
from phiscale.spec import Spec

HEADER = "phiscale"
HEADER_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a weights file says of itself."""

    spec: Spec
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    metrics: Mapping[str, Any] = field(default_factory=dict)  # with their conditions
    recipe: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""  # how the weights came about
    licence: str = ""  # as an SPDX name; empty where nobody has said

    def __post_init__(self) -> None:
        if len(self.classes) != self.spec.classes:
            raise WeightsError(f"{len(self.classes)} class names, but {self.spec.classes} classes "
                               "in the spec. Name each class once.")  # fmt: skip

    @property
    def member(self) -> str:
        """The member whose network this is, whatever its classes, channels and pixels; or ''."""
        return name_of(self.spec)

    def of(self, spec: Spec) -> Card:
        """The same for an adapted network: other classes than before are but numbered."""
        same = spec.classes == self.spec.classes
        names = self.classes if same else tuple(map(str, range(spec.classes)))
        return replace(self, spec=spec, classes=names)

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": HEADER_VERSION,
            "spec": self.spec.to_dict(),
            "preprocessing": self.preprocessing.to_dict(),
            "classes": list(self.classes),
            "metrics": dict(self.metrics),
            "recipe": dict(self.recipe),
            "origin": self.origin,
            "licence": self.licence,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Card:
        if data.get("version") != HEADER_VERSION:
            raise WeightsError(f"header version {data.get('version')!r} is not {HEADER_VERSION}; "
                               "update phiscale.")  # fmt: skip
        try:
            return Card(
                spec=Spec.from_dict(data["spec"]),
                preprocessing=Preprocessing.from_dict(data["preprocessing"]),
                classes=tuple(str(name) for name in data["classes"]),
                metrics=data["metrics"],
                recipe=data["recipe"],
                origin=str(data["origin"]),
                licence=str(data.get("licence", "")),
            )
        except (KeyError, TypeError) as error:
            raise WeightsError(f"the header lacks {error}; save the weights again.") from None


def save(path: Path, tensors: Mapping[str, Tensor], card: Card) -> None:
    """Writes tensors and card as one safetensors file, whole or not at all."""
    ready = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    header = {**card.to_dict(), "sha256": fingerprint(ready, card)}
    write_atomic(path, to_bytes(ready, metadata={HEADER: json.dumps(header)}))


def is_ours(path: Path) -> bool:
    """Whether a file says that phiscale wrote it; its tensors are not read."""
    try:
        with safe_open(path, "pt") as file:
            return HEADER in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def card_of(path: Path) -> Card:
    """What a file of ours says of itself; its tensors are neither read nor checked."""
    return _opened(path)[0]


def read(path: Path) -> tuple[Card, dict[str, Tensor]]:
    """Card and tensors, checked against the hash in the header."""
    card, said, tensors = _opened(path, whole=True)
    if said != fingerprint(tensors, card):
        raise WeightsError(f"{path} is damaged: it does not match the hash in its header. "
                           "Copy or train it again.")  # fmt: skip
    return card, tensors


def _opened(path: Path, *, whole: bool = False) -> tuple[Card, str, dict[str, Tensor]]:
    """Card, hash, and the tensors where `whole`."""
    if not path.is_file():
        raise WeightsError(f"no weights at {path}. Give a .safetensors file or a run folder.")
    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get(HEADER)
            if whole:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no readable safetensors file ({error}). "
                           "Copy or train it again.") from None  # fmt: skip
    if header is None:
        raise WeightsError(f"{path} has no phiscale header, so its network is unknown. "
                           "Use a file that phiscale wrote.")  # fmt: skip
    try:
        said = json.loads(header)
        return Card.from_dict(said), str(said.get("sha256")), tensors
    except PhiscaleError as error:
        raise WeightsError(f"{path}: {error}") from None
    except (ValueError, RecursionError, AttributeError, TypeError):
        raise WeightsError(f"{path}: its header is damaged. Copy or train it again.") from None


def fill(network: Network, tensors: Mapping[str, Tensor], origin: Path) -> None:
    """Copies tensors in; keys and shapes must match and values be finite."""
    wanted = network.state_dict()
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    both = wanted.keys() & tensors.keys()
    shapes = [k for k in both if wanted[k].shape != tensors[k].shape]
    types = [k for k in both if wanted[k].dtype != tensors[k].dtype]
    for what, names in (
        ("missing", missing),
        ("unknown", extra),
        ("of another shape", sorted(shapes)),
        ("of another type", sorted(types)),
    ):
        if names:
            raise WeightsError(
                f"{origin}: {len(names)} tensors {what} ({', '.join(names[:3])}, ...). "
                "They belong to another network."
            )
    bad = [k for k, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if bad:
        raise WeightsError(f"{origin}: {len(bad)} tensors hold NaN or infinity ({bad[0]}, ...). "
                           "Use an earlier file.")  # fmt: skip
    network.load_state_dict(dict(tensors), assign=True)


def fingerprint(tensors: Mapping[str, Tensor], card: Card) -> str:
    """SHA-256 over the card, and the tensors' names, types, shapes and bytes in names' order."""
    digest = hashlib.sha256(json.dumps(card.to_dict(), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
