"""A batch shared among cores trains as a batch should, whoever is faster."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.nn.blocks import Dropout
from phiscale.nn.network import Network, build
from phiscale.training.parallel.replicas import MIN_LANE_IMAGES, Replicas, lanes_for

SPEC = replace(scale(get_spec("small"), Scaling(depth=0.5, width=0.5)), resolution=16, classes=5)
IMAGES = 3 * MIN_LANE_IMAGES + 1  # no even share
X = torch.randn(IMAGES, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(IMAGES) % 5


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def network(dropout: float = 0.0, drop_path: float = 0.0) -> Network:
    torch.manual_seed(1)
    return build(SPEC, dropout=dropout, drop_path=drop_path).double().train()


def loss_of(network: nn.Module, part: slice) -> Tensor:
    return F.cross_entropy(network(X[part]), LABELS[part], reduction="sum") / IMAGES


def step(network: Network, lanes: int, images: int = IMAGES, at: int = 0) -> float:
    with closing(Replicas(network, lanes, seed=7)) as running:
        return running.gradients(loss_of, images, at)


def gradient(network: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


@pytest.mark.parametrize("lanes", [2, 3])
def test_lanes_give_the_gradient_of_the_whole_batch(lanes: int) -> None:
    whole, shared = network().eval(), network().eval()  # eval: batch statistics play no part
    losses = step(whole, 1), step(shared, lanes)
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    assert torch.allclose(gradient(whole), gradient(shared), rtol=1e-9, atol=1e-12)


def test_the_same_lanes_give_the_same_bits_with_dropout_and_stochastic_depth() -> None:
    one, two = (network(dropout=0.3, drop_path=0.3) for _ in range(2))
    assert step(one, 3) == step(two, 3)
    assert torch.equal(gradient(one), gradient(two))
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), two.buffers(), strict=True))


def test_another_place_in_the_training_draws_other_dropout() -> None:
    one, two = (network(dropout=0.5) for _ in range(2))
    assert step(one, 2, at=0) != step(two, 2, at=1)


def test_dropout_and_stochastic_depth_follow_the_images_position_not_its_lane() -> None:
    """Other lanes, and the same batch in pieces: the same masks, so the same gradient."""
    drops = {"dropout": 0.5, "drop_path": 0.5}
    whole, shared, pieces = (network(**drops).eval() for _ in range(3))
    for each in (whole, shared, pieces):
        for module in each.modules():
            if isinstance(module, Dropout):
                module.train()  # batch statistics play no part
    step(whole, 1)
    step(shared, 3)
    with closing(Replicas(pieces, 1, seed=7)) as replicas:
        replicas.begin_step()
        for at in range(0, IMAGES, 7):
            sample_indices = np.arange(at, min(at + 7, IMAGES))

            def backward(network: nn.Module, rows: slice, at: int = at) -> float:
                loss = loss_of(network, slice(at + rows.start, at + rows.stop))
                loss.backward()
                return loss.item()

            replicas.run(backward, len(sample_indices), sample_indices)
    assert torch.allclose(gradient(whole), gradient(shared), rtol=1e-9, atol=1e-12)
    assert torch.allclose(gradient(whole), gradient(pieces), rtol=1e-9, atol=1e-12)
    undropped = network().eval()
    step(undropped, 1)
    assert not torch.allclose(gradient(whole), gradient(undropped))


def test_batch_statistics_are_the_mean_over_lanes() -> None:
    shared, half = network(), IMAGES // 2
    halves = []
    for part in (slice(0, half), slice(half, IMAGES)):
        alone = network()
        alone(X[part])
        halves.append(dict(alone.named_buffers()))
    step(shared, 2)
    for name, mine in shared.named_buffers():
        expected = (halves[0][name] + halves[1][name]) / (2 if mine.is_floating_point() else 1)
        if mine.is_floating_point():
            assert torch.allclose(mine, expected, rtol=1e-9, atol=1e-12)
        else:
            assert mine == 1


def test_lanes_share_weights_so_that_an_update_reaches_all_of_them() -> None:
    first = network()
    with closing(Replicas(first, 2, seed=0)) as replicas:
        optimizer = torch.optim.SGD(first.parameters(), lr=0.1)
        replicas.gradients(loss_of, IMAGES, at=0)
        optimizer.step()
        for mine, theirs in zip(first.parameters(), replicas.networks[1].parameters(), strict=True):
            assert torch.equal(mine, theirs)


def test_there_are_no_more_lanes_than_threads_and_none_is_left_with_few_images() -> None:
    torch.set_num_threads(4)
    cpu = torch.device("cpu")
    assert [lanes_for(batch, cpu) for batch in (1, 16, 32, 64, 1024)] == [1, 1, 2, 4, 4]
    assert lanes_for(1024, torch.device("cuda")) == 1


def test_a_failure_in_a_lane_is_the_steps() -> None:
    def failing(network: nn.Module, part: slice) -> Tensor:
        if part.start:
            raise ValueError("in the second lane")
        return loss_of(network, part)

    with (
        closing(Replicas(network(), 2, seed=0)) as replicas,
        pytest.raises(ValueError, match="second"),
    ):
        replicas.gradients(failing, IMAGES, at=0)
