"""Class activation maps: which pixels support a class (Zhou et al., arXiv:1512.04150).

They are exact for networks that end in a global average pool and a linear classifier, as all of
ours do. A class's logit is the mean over positions of (its weights . the features), plus its bias.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from phiscale.nn.network import Network

LEAST_SIDE = 96  # pixels: smaller images are enlarged before anything is drawn over them


def class_evidence(network: Network, images: Tensor, labels: Tensor) -> Tensor:
    """Returns what each position of the last map adds to the logit of `labels`: (n, h, w).

    The mean over positions plus the classifier's bias is the logit.
    """
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            features = network.forward_features(images)  # n c h w
            weights = network.classifier.get_parameter("weight")[labels]  # n c
            return torch.einsum("nchw,nc->nhw", features, weights)
    finally:
        network.train(was_training)


def class_activation_maps(network: Network, images: Tensor, labels: Tensor) -> Tensor:
    """Returns how much each pixel supports the class of `labels`: (n, h, w) in [0, 1].

    `images` are preprocessed, (n, c, h, w). 1 is the strongest position of each image; 0 means no
    support, or evidence against the class. A map is all 0 where no position supports the class.
    """
    evidence = class_evidence(network, images, labels).relu()
    strongest = evidence.amax((1, 2), keepdim=True)
    relative = evidence / strongest.clamp(min=torch.finfo(evidence.dtype).tiny)
    size = images.shape[-2:]
    smooth = F.interpolate(relative[:, None], size=size, mode="bilinear", align_corners=False)
    return smooth[:, 0].clamp(0, 1)


def overlay(image: NDArray[np.uint8], cam: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Draws a map's colours over the grey image: uint8 (H, W, 3), at least 96 pixels a side.

    The colours grow evenly in lightness (inferno), so they work in print and for the colour-blind.
    Pixels of small images become squares.
    """
    from matplotlib import colormaps

    image = enlarge(image)
    height, width = image.shape[:2]
    field = torch.from_numpy(np.array(cam, np.float32))[None, None]
    field = F.interpolate(field, size=(height, width), mode="bilinear", align_corners=False)
    strength = field[0, 0].clamp(0, 1).numpy()
    colour = colormaps["inferno"](0.08 + 0.87 * strength)[..., :3]
    grey = (image @ np.array([0.299, 0.587, 0.114]))[..., None] / 255
    share = (0.45 + 0.25 * strength)[..., None]
    mixed = (1 - share) * (0.1 + 0.8 * grey) + share * colour
    return np.clip(mixed * 255 + 0.5, 0, 255).astype(np.uint8)


def enlarge(image: NDArray[np.uint8], least: int = LEAST_SIDE) -> NDArray[np.uint8]:
    """Enlarges pixels to squares, so that the shorter side has at least `least` pixels."""
    times = -(-least // min(image.shape[:2]))
    return image.repeat(times, axis=0).repeat(times, axis=1) if times > 1 else image
