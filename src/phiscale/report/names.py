"""Names of candidates that can be said and typed, as a report shows them."""

from __future__ import annotations

import re

from phiscale.arch.families import MEMBERS

_MULTIPLIERS = re.compile(r"(?:(\w+), )?depth x([\d.]+), width x([\d.]+), (\d+) px")


def speakable(text: str, base: str) -> str:
    """Writes each network of a text that is named by its multipliers as `b0-d0.62-w0.29-80px`.

    `base`: the model that multipliers refer to where a name has no model of its own.
    """

    def write(match: re.Match[str]) -> str:
        before, depth, width, pixels = match.groups()
        own = before in MEMBERS
        name = f"{_short(before if own else base)}-d{depth}-w{width}-{pixels}px"
        return name if own or before is None else f"{before}, {name}"

    return _MULTIPLIERS.sub(write, text)


def _short(model: str) -> str:
    return model.replace("efficientnetv2_", "v2-").replace("efficientnet_", "").replace("_", "-")
