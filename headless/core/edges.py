"""Canny's edges, with the numbers of kornia.filters.canny (Apache-2.0), which the core node calls.

Canny, "A Computational Approach to Edge Detection", 1986: blur, gradient, only the ridges of it, and of these the
strong ones with the weak ones that reach a strong one.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, pad

GREY = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601
TAPS = 5  # of the blur, whose deviation is one pixel
LEAST = 1e-6  # under the root, so that a gradient of 0 has a slope: it is a part of the numbers
# The neighbour in the direction of the gradient, by eighths of a turn from the right, clockwise: rows down, columns on.
AROUND = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))


def find_edges(images: Tensor, low: float, high: float) -> Tensor:
    """images: (B, H, W, C) in [0, 1], C 1, 3 or 4. low, high: of the gradient. -> (B, H, W), 1 on edges, else 0."""
    slope, eighth = _find_gradient(_blur(_to_grey(images.float().movedim(-1, 1))))
    ridge = slope * _is_ridge(slope, eighth)
    return _reach(ridge > low, ridge > high)[:, 0].float()


def _to_grey(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    red, green, blue = (images[:, i : i + 1] for i in range(3))
    return GREY[0] * red + GREY[1] * green + GREY[2] * blue


def _blur(grey: Tensor) -> Tensor:
    x = torch.arange(TAPS, dtype=torch.float32) - TAPS // 2
    bell = torch.exp(-x.pow(2) / 2)
    bell, side = bell / bell.sum(), TAPS // 2
    framed = pad(grey, (side,) * 4, mode="reflect" if min(grey.shape[-2:]) > side else "replicate")
    return conv2d(conv2d(framed, bell[None, None, None]), bell[None, None, :, None])


def _find_gradient(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Of Sobel: its length, and its direction in eighths of a turn, 0 to 7."""
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    framed = pad(grey, (1,) * 4, mode="replicate")
    x, y = (conv2d(framed, kernel[None, None]) for kernel in (across, across.T))
    degrees = torch.atan2(y, x) * (180 / torch.pi)
    return torch.sqrt(x * x + y * y + LEAST), (torch.round(degrees / 45) % 8).long()


def _is_ridge(slope: Tensor, eighth: Tensor) -> Tensor:
    """Whether the slope is greater than before it and behind it, in the direction of the gradient."""
    height, width = slope.shape[-2:]
    framed = pad(slope, (1,) * 4)
    moved = [framed[..., 1 + down : 1 + down + height, 1 + on : 1 + on + width] for down, on in AROUND]
    above = slope - torch.cat(moved, 1)
    return (above.gather(1, eighth) > 0) & (above.gather(1, (eighth + 4) % 8) > 0)


def _reach(weak: Tensor, strong: Tensor) -> Tensor:
    """The strong pixels, and the weak ones from which one comes to a strong one over weak ones."""
    found = weak & strong
    while True:
        wider = weak & (max_pool2d(found.float(), 3, 1, 1) > 0)
        if torch.equal(wider, found):
            return found
        found = wider
