"""Batch norms over several processes compute what one over all their images would."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch._C._distributed_c10d import HashStore

from phiscale.nn.norm import BatchNorm2d, synchronise


@pytest.fixture
def group() -> Iterator[object]:
    """Of this process alone, spoken through gloo: every message is really sent."""
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield dist.group.WORLD
    dist.destroy_process_group()


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
def test_a_group_of_one_computes_what_torchs_norm_does(group: object, kind: torch.dtype):
    torch.manual_seed(0)
    ours, theirs = nn.Sequential(BatchNorm2d(5, momentum=0.3)), nn.BatchNorm2d(5, momentum=0.3)
    for norm in (ours[0], theirs):
        norm.weight.data = torch.linspace(0.5, 2, 5)
        norm.bias.data = torch.linspace(-1, 1, 5)
        norm.running_mean, norm.running_var = torch.zeros(5), torch.ones(5)
        norm.num_batches_tracked = torch.zeros((), dtype=torch.int64)
    if kind == torch.float64:
        ours, theirs = ours.double(), theirs.double()
    synchronise(ours, group)  # type: ignore[arg-type]
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}[kind]
    for _ in range(2):  # statistics go on from what they were
        x = (3 * torch.randn(4, 5, 3, 2) + 1).to(kind)
        x_ours, x_theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        gradient = torch.randn(4, 5, 3, 2).to(kind)
        output, expected = ours(x_ours), theirs(x_theirs)
        output.backward(gradient)
        expected.backward(gradient)
        assert output.dtype == expected.dtype
        torch.testing.assert_close(output, expected, rtol=tolerance, atol=tolerance)
        assert x_ours.grad is not None and x_theirs.grad is not None
        torch.testing.assert_close(x_ours.grad, x_theirs.grad, rtol=tolerance, atol=tolerance)
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours[0].state_dict()[name], tensor, rtol=1e-5, atol=1e-5)
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(
            ours[0].get_parameter(name).grad, parameter.grad, rtol=5 * tolerance, atol=tolerance
        )
