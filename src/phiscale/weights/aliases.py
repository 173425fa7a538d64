"""What other libraries call our members."""

from __future__ import annotations

import re
from functools import cache

from phiscale.arch.families import MEMBERS, name_of
from phiscale.arch.spec import Spec
from phiscale.weights.peers import Library, spec_of

_REGNETS = r"regnet[xy]_(004|008|016|032|080|160|320|1280)(_tv)?"  # the sizes of torchvision


@cache
def network_names(library: Library) -> dict[str, str]:
    """The library's name -> ours, for every network that it has of ours."""
    found: dict[str, str] = {}
    if library == "torchvision":
        found |= {f"efficientnet_b{size}": f"efficientnet_b{size}" for size in range(8)}
        found |= {f"efficientnet_v2_{size}": f"efficientnetv2_{size}" for size in "sml"}
        found |= {name: name for name in MEMBERS if re.fullmatch(r"(wide_)?resnet\d+(_2)?", name)}
        found |= {"mobilenet_v2": "mobilenetv2_100"}
        regnets = [name for name in MEMBERS if re.fullmatch(_REGNETS, name)]
        found |= dict(map(_regnet, regnets))  # where timm and torchvision differ, ours ends in _tv
    elif library == "keras":
        found |= {f"EfficientNetB{size}": f"tf_efficientnet_b{size}" for size in range(8)}
        found |= {f"EfficientNetV2B{size}": f"tf_efficientnetv2_b{size}" for size in range(4)}
        found |= {f"EfficientNetV2{size.upper()}": f"tf_efficientnetv2_{size}" for size in "sml"}
    elif library in ("lukemelas", "tf"):
        found |= {
            f"efficientnet-{size}": f"tf_efficientnet_{size}"
            for size in (*(f"b{i}" for i in range(9)), "l2")
        }
        if library == "tf":
            found |= {
                f"efficientnet-lite{size}": f"tf_efficientnet_lite{size}" for size in range(5)
            }
            found |= {
                f"efficientnet-edgetpu-{size}": f"tf_efficientnet_e{letter}"
                for size, letter in zip("SML", "sml", strict=True)
            }
            found |= {
                f"efficientnetv2-{size}": f"tf_efficientnetv2_{size}"
                for size in ("b0", "b1", "b2", "b3", "s", "m", "l", "xl")
            }
    else:
        found |= {name: name for name in MEMBERS}
        found |= {"mnasnet_a1": "semnasnet_100", "mnasnet_b1": "mnasnet_100"}
    return {theirs: ours for theirs, ours in found.items() if ours in MEMBERS}


def _regnet(member: str) -> tuple[str, str]:
    """torchvision says what it costs: `regnet_y_1_6gf` is our `regnety_016`."""
    letter, number = member[6], int(member.split("_")[1])
    hundreds = f"{number * 100}mf" if number < 10 else f"{number / 10:g}gf".replace(".", "_")
    return f"regnet_{letter}_{hundreds}", member


def describe_difference(library: Library, spec: Spec) -> str:
    """How the library's own network differs from this one; '' where it is the same."""
    member = name_of(spec)
    theirs = set(network_names(library).values())
    for name in (member, f"tf_{member}", member.removeprefix("tf_")):
        if name in theirs:
            runs = spec_of(library, name)
            if (runs.padding, runs.norm_eps) == (spec.padding, spec.norm_eps):
                return ""
            return (
                f"{library} runs {name} with padding {runs.padding} and norm epsilon "
                f"{runs.norm_eps:g}, these weights have {spec.padding} and "
                f"{spec.norm_eps:g}: its answers will differ"
            )
    return f"{library} has no such network: these are the names that it would use"


def member_of(library: Library, theirs: str) -> str | None:
    """Our name of a library's network; None where it is none of ours."""
    return network_names(library).get(theirs)
