"""Mixup and CutMix: partners, shares and boxes, and images and labels that agree with them."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta as beta_law
from scipy.stats import kstest
from torchvision.transforms import v2

from phiscale.data.augment.augment import Augment
from phiscale.data.augment.mixing import Mix, draw_mixes, mix_images, partner_of
from phiscale.data.datasets.open import open_dataset
from phiscale.data.loader import ImageCache, TrainingBatchPlan, training_batches
from phiscale.data.preprocessing import Preprocessing

SAMPLES = np.arange(4000)
UNIFORMS = np.random.default_rng(0).random((4000, 3))


@given(start=st.integers(0, 1000), size=st.integers(1, 40), data=st.data())
def test_partners_are_each_others_and_never_outside_the_batch(
    start: int, size: int, data: st.DataObject
):
    sample = start + data.draw(st.integers(0, size - 1))
    other = partner_of(sample, start, start + size)
    assert start <= other < start + size and partner_of(other, start, start + size) == sample
    assert other != sample or size % 2 == 1


def draw(mixup: float, cutmix: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return draw_mixes(
        SAMPLES, (0, len(SAMPLES)), mixup=mixup, cutmix=cutmix, size=64, uniforms=UNIFORMS
    )


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_leaves_the_larger_part_to_the_image_itself(alpha: float):
    _, share, box = draw(alpha, 0.0)
    assert (share <= 0.5).all() and not box.any()
    folded = np.minimum(sample := beta_law.rvs(alpha, alpha, size=4000, random_state=1), 1 - sample)
    assert kstest(share, folded).pvalue > 1e-3


def test_cutmix_shares_labels_by_the_area_that_was_pasted():
    _, share, box = draw(0.0, 1.0)
    area = (box[:, 1] - box[:, 0]) * (box[:, 3] - box[:, 2]) / 64**2
    assert np.allclose(share, area) and 0.2 < share.mean() < 0.4  # cut at the edges: below 1/2
    assert (box >= 0).all() and (box <= 64).all()


def test_where_both_are_on_pairs_take_turns():
    _, share, box = draw(0.4, 1.0)
    cut = box[:, 1] > box[:, 0]
    assert not cut.reshape(-1, 2, 2)[:, 0].any() and cut.reshape(-1, 2, 2)[:, 1].mean() > 0.9
    assert (share[::4] > 0).any()


def test_mixed_images_hold_what_their_labels_say():
    first_images, second_images = torch.zeros(4, 3, 8, 8), torch.ones(4, 3, 8, 8)
    box = torch.tensor([[0, 0, 0, 0], [2, 6, 0, 4], [0, 8, 0, 8], [0, 0, 0, 0]])
    share = torch.tensor([0.3, 0.25, 1.0, 0.0], dtype=torch.float64)
    result = mix_images(first_images, second_images, Mix(torch.arange(4), share, box))
    assert torch.allclose(result.mean((1, 2, 3)), share.float())
    assert result[1, :, 2:6, :4].min() == 1 and result[1].sum() == 3 * 16


def test_a_blend_is_torchvisions_mixup():
    torch.manual_seed(0)
    x, labels = torch.rand(2, 3, 4, 4), torch.tensor([0, 1])
    theirs, soft = v2.MixUp(alpha=1.0, num_classes=2)(x, labels)
    share = soft[0, 1].item()
    ours = mix_images(
        x,
        x.flip(0),
        Mix(torch.tensor([1, 0]), torch.full((2,), share), torch.zeros(2, 4, dtype=torch.int64)),
    )
    assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("cuts", [(0, 12), (0, 5, 12), (0, 4, 7, 12)])
def test_a_batch_shared_out_holds_the_same_mixed_images(cuts: tuple[int, ...]):
    """Each share brings the partners along that it lacks."""
    images = open_dataset("digits")
    augment = Augment(mixup=0.4, cutmix=1.0, policy="randaugment")
    preprocessing = Preprocessing(size=16, crop=1.0)

    def share_of(first: int, end: int) -> torch.Tensor:
        batches = training_batches(
            ImageCache(images.train, 16),
            preprocessing,
            TrainingBatchPlan(
                seed=3,
                batch=12,
                start=24,
                stop=36,
                augment_at=lambda sample: augment,
                rows_of=lambda size: (first, end),
            ),
        )
        (batch,) = batches
        assert batch.mix is not None
        assert batch.sample_indices.tolist() == list(range(24 + first, 24 + end))
        own = batch.pixels[: end - first].float()
        return mix_images(own, batch.pixels[batch.mix.partner].float(), batch.mix)

    whole = share_of(0, 12)
    parts = [share_of(a, b) for a, b in itertools.pairwise(cuts)]
    assert torch.equal(torch.cat(parts), whole)
