"""The table of registered models, and the ways to name a spec."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import cast

from phiscale.arch.families.efficientnet import EFFICIENTNET
from phiscale.arch.families.efficientnetv2 import EFFICIENTNET_V2
from phiscale.arch.families.member import Figure, Member, Target
from phiscale.arch.families.mobile import MOBILE
from phiscale.arch.families.regnet import REGNET
from phiscale.arch.families.resnet import RESNET
from phiscale.arch.families.small import SMALL
from phiscale.arch.families.sources import spec_from_json_file, spec_from_python_file
from phiscale.arch.spec import Spec
from phiscale.errors import SpecError, UnknownModel

__all__ = [
    "MEMBERS",
    "Figure",
    "Member",
    "Target",
    "as_spec",
    "get_spec",
    "name_of",
    "resolve_spec",
]

MEMBERS: dict[str, Member] = {
    member.name: member
    for family in (EFFICIENTNET, EFFICIENTNET_V2, MOBILE, RESNET, REGNET, SMALL)
    for member in family
}


def get_spec(name: str) -> Spec:
    """Returns the spec of a registered model. UnknownModel: there is none of this name."""
    if name not in MEMBERS:
        near = _near(name)
        fix = f"Did you mean {' or '.join(near)}? " if near else ""
        raise UnknownModel(f"{name!r} is not a model. {fix}`phiscale models` lists all of them.")
    return MEMBERS[name].spec


def _near(name: str) -> list[str]:
    """Returns the models that an unknown name may mean: one where only the spelling differs."""
    from difflib import get_close_matches  # only errors need it

    plain = re.sub(r"_(ns|ap|in21ft1k|in21k)$", "", name.lower().partition(".")[0])  # timm's tags
    plain = re.sub(r"^b(\d)a?$", r"efficientnet_b\1", plain)
    plain = re.sub(r"^efficientnet(v2)?[-_]?([bsml]\d?)a?$", r"efficientnet\1_\2", plain)
    near = get_close_matches(plain, MEMBERS, n=3, cutoff=0.5)
    return [plain] if plain in MEMBERS else near


def as_spec(model: Spec | str) -> Spec:
    """Returns the spec itself, or the one that a text names: see `resolve_spec`."""
    value = cast("object", model)  # a user may pass anything
    if isinstance(value, Spec):
        return value
    if isinstance(value, str):
        return resolve_spec(value)
    raise SpecError(
        f"{value!r} is neither a Spec nor a model's name. Use one such as 'efficientnet_b0'."
    )


def name_of(spec: Spec) -> str:
    """Returns the name of the registered model that is this network, or ''.

    Classes, input channels, pixels and the constants of norms may differ.
    """
    wanted = replace(bare(spec), resolution=1)
    return next(
        (m.name for m in MEMBERS.values() if replace(bare(m.spec), resolution=1) == wanted), ""
    )


def bare(spec: Spec) -> Spec:
    """Returns the spec with fixed classes, input channels and constants of norms.

    A task or a library chooses those; two specs that agree otherwise are the same network.
    """
    return replace(spec, classes=1, in_channels=3, norm_momentum=1, norm_eps=0.1)


def resolve_spec(text: str) -> Spec:
    """Returns the spec that a text names: a model, a `spec.json`, or `path/to/file.py:NAME`.

    SpecError: it names none. A Python file is run.
    """
    if text in MEMBERS:
        return MEMBERS[text].spec
    try:
        return _spec_of_file_or_name(text)
    except OSError as error:  # such as a path that is too long
        short = ascii(text) if len(text) <= 60 else f"{text[:60]!a}..."
        raise SpecError(f"{short} cannot be read: {error.strerror}. Check the path.") from None


def _spec_of_file_or_name(text: str) -> Spec:
    file, _, name = text.rpartition(":")
    if file.endswith(".py"):
        return spec_from_python_file(Path(file), name)
    path = Path(text)
    if path.suffix == ".py":
        return spec_from_python_file(path, "")
    if path.suffix == ".json" or path.exists() or len(path.parts) > 1:
        return spec_from_json_file(path)
    return get_spec(text)
