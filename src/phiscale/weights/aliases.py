"""Names that other libraries have for the registered models."""

from __future__ import annotations

import re
from functools import cache

from phiscale.arch.families import MEMBERS, name_of
from phiscale.arch.spec import Spec
from phiscale.weights.peers import Library, spec_of

_REGNETS = r"regnet[xy]_(004|008|016|032|080|160|320|1280)(_tv)?"  # the sizes of torchvision


@cache
def network_names(library: Library) -> dict[str, str]:
    """Returns library name -> phiscale's name, for every model that the library has."""
    names: dict[str, str] = {}
    if library == "torchvision":
        names |= {f"efficientnet_b{size}": f"efficientnet_b{size}" for size in range(8)}
        names |= {f"efficientnet_v2_{size}": f"efficientnetv2_{size}" for size in "sml"}
        names |= {name: name for name in MEMBERS if re.fullmatch(r"(wide_)?resnet\d+(_2)?", name)}
        names |= {"mobilenet_v2": "mobilenetv2_100"}
        regnets = [name for name in MEMBERS if re.fullmatch(_REGNETS, name)]
        names |= dict(map(_regnet, regnets))  # where timm and torchvision differ, ours ends in _tv
    elif library == "keras":
        names |= {f"EfficientNetB{size}": f"tf_efficientnet_b{size}" for size in range(8)}
        names |= {f"EfficientNetV2B{size}": f"tf_efficientnetv2_b{size}" for size in range(4)}
        names |= {f"EfficientNetV2{size.upper()}": f"tf_efficientnetv2_{size}" for size in "sml"}
    elif library in ("lukemelas", "tf"):
        names |= {
            f"efficientnet-{size}": f"tf_efficientnet_{size}"
            for size in (*(f"b{i}" for i in range(9)), "l2")
        }
        if library == "tf":
            names |= {
                f"efficientnet-lite{size}": f"tf_efficientnet_lite{size}" for size in range(5)
            }
            names |= {
                f"efficientnet-edgetpu-{size}": f"tf_efficientnet_e{letter}"
                for size, letter in zip("SML", "sml", strict=True)
            }
            names |= {
                f"efficientnetv2-{size}": f"tf_efficientnetv2_{size}"
                for size in ("b0", "b1", "b2", "b3", "s", "m", "l", "xl")
            }
    else:
        names |= {name: name for name in MEMBERS}
        names |= {"mnasnet_a1": "semnasnet_100", "mnasnet_b1": "mnasnet_100"}
    return {name: member for name, member in names.items() if member in MEMBERS}


def _regnet(member: str) -> tuple[str, str]:
    """Returns torchvision's name, which states the MACs: `regnet_y_1_6gf` for `regnety_016`."""
    letter, number = member[6], int(member.split("_")[1])
    hundreds = f"{number * 100}mf" if number < 10 else f"{number / 10:g}gf".replace(".", "_")
    return f"regnet_{letter}_{hundreds}", member


def describe_difference(library: Library, spec: Spec) -> str:
    """Returns in words how the library's network differs from this one; '' where it does not."""
    member = name_of(spec)
    library_names = set(network_names(library).values())
    for name in (member, f"tf_{member}", member.removeprefix("tf_")):
        if name in library_names:
            library_spec = spec_of(library, name)
            if (library_spec.padding, library_spec.norm_eps) == (spec.padding, spec.norm_eps):
                return ""
            return (
                f"{library} runs {name} with padding {library_spec.padding} and norm epsilon "
                f"{library_spec.norm_eps:g}, these weights have {spec.padding} and "
                f"{spec.norm_eps:g}: its answers will differ"
            )
    return f"{library} has no such network: these are the names that it would use"


def member_of(library: Library, name: str) -> str | None:
    """Returns phiscale's name of a library's network; None where no model is that network."""
    return network_names(library).get(name)
