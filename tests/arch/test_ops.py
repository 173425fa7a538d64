"""The walk of operations: how they are wired, and that everything reads the same walk."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec
from phiscale.arch.layers import count_layers
from phiscale.arch.ops import IMAGES, Operation, operations
from phiscale.arch.sizes import ScaledSizes
from phiscale.arch.spec import Spec

CONVOLUTIONS = ("dense", "pointwise", "depthwise", "grouped")


@given(spec=st.from_type(Spec))
def test_an_operation_reads_what_earlier_ones_gave_and_every_output_but_the_last_is_read(
    spec: Spec,
):
    maps = {IMAGES: (spec.in_channels, spec.resolution)}
    read: set[str] = set()
    for operation in operations(spec):
        assert operation.path not in maps
        for name in operation.inputs:
            assert maps[name] == (operation.channels_in, operation.side_in)
        read.update(operation.inputs)
        maps[operation.path] = (operation.channels, operation.side)
    assert set(maps) - read == {"classifier"}


@given(spec=st.from_type(Spec))
def test_layers_counted_block_by_block_are_the_ones_of_the_cost(spec: Spec):
    counted = count_layers(spec, ScaledSizes.of(spec), operations(spec))
    assert all(count == 1 for _, count in counted)
    assert tuple(layer for layer, _ in counted) == cost(spec).layers


@given(spec=st.from_type(Spec))
def test_every_parameter_of_the_network_belongs_to_an_operation(spec: Spec):
    import torch

    from phiscale.nn.network import build

    with torch.device("meta"):
        parameters = dict(build(spec).named_parameters())
    shapes = {name: tuple(tensor.shape) for name, tensor in parameters.items()}
    assert shapes == {k: v for each in operations(spec) for k, v in parameter_shapes(each).items()}


def parameter_shapes(op: Operation) -> dict[str, tuple[int, ...]]:
    out, inside = op.channels, op.squeezed
    if op.kind in CONVOLUTIONS:
        return {f"{op.path}.weight": (out, op.channels_in // op.groups, op.kernel, op.kernel)}
    match op.kind:
        case "norm":
            return {f"{op.path}.weight": (out,), f"{op.path}.bias": (out,)}
        case "linear":
            return {f"{op.path}.weight": (out, op.channels_in), f"{op.path}.bias": (out,)}
        case "se":
            return {
                f"{op.path}.reduce.weight": (inside, out, 1, 1),
                f"{op.path}.reduce.bias": (inside,),
                f"{op.path}.expand.weight": (out, inside, 1, 1),
                f"{op.path}.expand.bias": (out,),
            }
        case _:
            return {}


def test_the_second_block_of_efficientnet_b0_s_second_stage_adds_its_input():
    add = next(each for each in operations(get_spec("efficientnet_b0")) if each.kind == "add")
    assert add.path == "stages.1.1.add"
    assert add.inputs == ("stages.1.0.project.norm", "stages.1.1.project.norm")
