"""A clip of ten seconds through the command line, played back frame by frame with PyAV; and frames that are resumed."""

import av
import numpy as np
import pytest
import torch
from exact_vae.cli import main
from exact_vae.vae_core import load, save
from exact_vae.vae_core.latents import write_latent
from PIL import Image
from support.slow import slow
from support.small_networks import small

FRAMES, SIDE = 300, 256


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """(folder with vae.safetensors and z.safetensors, what `decode` makes of them: IMAGE (T, 256, 256, 3))"""
    folder = tmp_path_factory.mktemp("long")
    vae = small("tiny_video", torch.float32)
    z = move(vae.latent_channels, -(-FRAMES // 4) + 1, SIDE // vae.spatial_ratio)
    use_whole_range(vae, z[:, :, :8])
    save(vae, folder / "vae.safetensors")
    write_latent(folder / "z.safetensors", z)
    pixels = load(folder / "vae.safetensors").decode(z)[0]
    return folder, ((pixels + 1) / 2).clamp(0, 1).permute(1, 2, 3, 0)


def move(channels: int, frames: int, side: int) -> torch.Tensor:
    """A latent in which every channel is a wave that moves on."""
    t = torch.arange(frames)[:, None, None] / 2
    y, x = torch.meshgrid(torch.linspace(-2, 2, side), torch.linspace(-2, 2, side), indexing="ij")
    return torch.stack([torch.sin((i + 1) * t / 3 + (i + 1) * x - y) for i in range(channels)])[None]


@torch.no_grad()
def use_whole_range(vae, z) -> None:
    """Weights that are drawn at random give a narrow range of colours: the last convolution is set for [-1, 1]."""
    pixels = vae.decode(z)[0]
    middle, scale = pixels.mean((1, 2, 3)), 0.4 / pixels.std()
    last = [m for m in vae.network.decoder.modules() if isinstance(m, torch.nn.Conv2d)][-1]
    last.weight.mul_(scale)
    last.bias.sub_(middle).mul_(scale)


def decode(folder, target, *more) -> None:
    known = (folder / "z.safetensors", target, "--vae", folder / "vae.safetensors", *more)
    assert main(["decode", *map(str, known)]) == 0


@slow
def test_png_files_are_what_decode_makes_bit_for_bit(clip):
    folder, truth = clip
    decode(folder, folder / "frames" / "%05d.png")
    files = sorted((folder / "frames").iterdir())
    assert len(files) == len(truth) >= FRAMES
    for path, frame in zip(files, truth, strict=True):
        with av.open(str(path)) as file:
            (image,) = file.decode(video=0)
        assert np.array_equal(image.to_ndarray(format="rgb24"), (frame * 255).to(torch.uint8).numpy())
        assert np.array_equal(np.array(Image.open(path)), image.to_ndarray(format="rgb24"))


# h264 has chroma at half the resolution, and FFmpeg's usual conversion back is 0.7 % of white too dark (codecs.py).
@slow
@pytest.mark.parametrize(("name", "codec", "most"), [("a.mp4", "h264", 0.02), ("a.mkv", "ffv1", 0)])
def test_a_video_is_played_frame_by_frame(clip, name, codec, most):
    """Every frame is there, at its time, and is that of `decode` and no neighbour's."""
    folder, truth = clip
    decode(folder, folder / name, "--codec", codec, "--fps", 24)
    levels = (truth * 255).to(torch.uint8)
    count = 0
    with av.open(str(folder / name)) as file:
        for number, image in enumerate(file.decode(video=0)):
            assert round(float(image.pts * image.time_base) * 24) == number
            found = torch.from_numpy(image.to_ndarray(format="rgb24"))
            errors = [
                (found.float() - levels[other].float()).abs().mean() / 255
                for other in (number, max(number - 4, 0), min(number + 4, len(levels) - 1))
            ]
            assert errors[0] <= most and errors[0] == min(errors)
            count += 1
    assert count == len(truth)
