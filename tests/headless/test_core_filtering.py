"""Canny's edges, images as a video would have them, and what was painted in the editor."""

import numpy as np
import pytest
import torch
from exact_vae.vae_core.errors import BadPixels, BadRequest
from PIL import Image

AROUND = [(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)]


def window(values, y, x, side, kernel, mode):
    return float((np.pad(values, side, mode=mode)[y : y + 2 * side + 1, x : x + 2 * side + 1] * kernel).sum())


def each(values, make):
    return np.array([[make(y, x) for x in range(values.shape[1])] for y in range(values.shape[0])])


def canny(image, low, high):
    """As Canny has it, pixel by pixel. image: (H, W, 3). -> (H, W) of 0 and 1."""
    grey = image.astype(np.float64) @ (0.299, 0.587, 0.114)
    bell = np.exp(-(np.arange(-2, 3) ** 2) / 2)
    bell = np.outer(bell, bell) / bell.sum() ** 2
    grey = each(grey, lambda y, x: window(grey, y, x, 2, bell, "reflect"))
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    across, down = (each(grey, lambda y, x, k=k: window(grey, y, x, 1, k, "edge")) for k in (sobel, sobel.T))
    slope = np.sqrt(across**2 + down**2 + 1e-6)
    framed = np.pad(slope, 1)

    def is_ridge(y, x):
        direction = round(np.degrees(np.arctan2(down[y, x], across[y, x])) / 45)
        before, behind = (AROUND[(direction + turn) % 8] for turn in (0, 4))
        return all(slope[y, x] > framed[1 + y + dy, 1 + x + dx] for dy, dx in (before, behind))

    ridge = slope * each(slope, is_ridge)
    found, waiting = ridge > high, list(np.argwhere(ridge > high))
    while waiting:
        y, x = waiting.pop()
        for dy, dx in AROUND:
            ny, nx = y + dy, x + dx
            inside = 0 <= ny < slope.shape[0] and 0 <= nx < slope.shape[1]
            if inside and ridge[ny, nx] > low and not found[ny, nx]:
                found[ny, nx] = True
                waiting.append((ny, nx))
    return found


@pytest.mark.parametrize("low, high", [(0.4, 0.8), (0.1, 0.9), (0.6, 0.6)])
def test_edges_are_canny_s(nodes, low, high):
    images = torch.rand(2, 19, 23, 3, generator=torch.Generator().manual_seed(0)) * 0.6
    images[:, 5:12, 8:17] += 0.4
    (edges,) = nodes["Canny"]().run(images, low, high)
    assert edges.shape == images.shape and torch.equal(edges[..., 0], edges[..., 2])
    wanted = [canny(image.numpy(), low, high) for image in images]
    assert 10 < np.sum(wanted) < 800 and np.array_equal(edges[..., 0].numpy(), np.stack(wanted))


def test_edges_of_grey_of_transparent_and_of_tiny_images(nodes):
    images = torch.rand(1, 12, 12, 3)
    find = nodes["Canny"]().run
    assert torch.equal(find(torch.cat([images, torch.rand(1, 12, 12, 1)], -1), 0.3, 0.6)[0], find(images, 0.3, 0.6)[0])
    assert find(images[..., :1], 0.3, 0.6)[0].shape == (1, 12, 12, 3)
    assert find(torch.rand(1, 1, 2, 3), 0.3, 0.6)[0].shape == (1, 1, 2, 3)
    with pytest.raises(BadRequest, match=r"low_threshold is 0\.8, which is above high_threshold, 0\.4: swap the two"):
        find(images, 0.8, 0.4)


def test_a_compressed_image_is_poorer_the_more_it_is_compressed(nodes):
    pytest.importorskip("av")
    images = torch.rand(2, 33, 40, 1).expand(-1, -1, -1, 3) / 4 + torch.linspace(0, 0.7, 40)[None, None, :, None]
    compress = nodes["LTXVPreprocess"]().run
    assert compress(images, 0)[0] is images
    errors = [(compress(images, crf)[0] - images[:, :32, :40]).abs().mean() for crf in (5, 30, 51)]
    assert errors == sorted(errors) and errors[0] < 0.5 * errors[2]
    assert torch.equal(compress(images, 100)[0], compress(images, 51)[0])
    with pytest.raises(BadRequest, match="an image of 40x1 has no video"):
        compress(images[:, :1], 35)


def paint(nodes, mask="", image=None, colour="#336699"):
    made = nodes["Painter"]().run(mask, 64, 128, colour, image)
    assert made["ui"]["images"][0]["type"] == "temp"
    return made["result"]


def test_a_picture_without_a_stroke(nodes):
    image, mask = paint(nodes)
    assert image.shape == (1, 128, 64, 3) and not mask.any() and mask.shape == (1, 128, 64)
    assert torch.allclose(image[0, 0, 0], torch.tensor([0x33, 0x66, 0x99]) / 255)
    assert not paint(nodes, colour="red")[0].any()
    images = torch.rand(2, 9, 8, 4)
    assert torch.equal(paint(nodes, image=images)[0], images[:1])  # with its transparency, as in core


def test_strokes_lie_over_the_image(nodes, put):
    strokes = np.zeros((9, 8, 4), np.uint8)
    strokes[2, 3] = (255, 0, 51, 128)
    name = put(Image.fromarray(strokes), "painter/strokes.png")
    images = torch.rand(1, 9, 8, 3)
    image, mask = paint(nodes, name, images)
    share = 128 / 255
    assert mask[0, 2, 3] == pytest.approx(share) and mask.count_nonzero() == 1
    want = images.clone()
    want[0, 2, 3] = torch.tensor([1.0, 0, 0.2]) * share + images[0, 2, 3] * (1 - share)
    assert torch.allclose(image, want)
    assert paint(nodes, name)[1].shape == (1, 128, 64)


def test_a_painted_file_that_changes_or_is_none(nodes, put, folders):
    name = put(Image.new("RGBA", (4, 4)))
    asked = nodes["Painter"].IS_CHANGED
    assert asked(mask="", width=1) == "" and asked(mask=name) == asked(mask=name) != asked(
        mask=put(Image.new("L", (9, 9)), "y.png")
    )
    (folders.input / "no.png").write_bytes(b"none")
    with pytest.raises(BadPixels, match=r"no\.png' cannot be read as an image"):
        paint(nodes, "no.png")
