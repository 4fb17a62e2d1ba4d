"""Clips of smooth colours or noise, and files of them."""

import av
import numpy as np
import torch
from exact_vae.vae_core import videos


def noise(frames: int, height: int = 48, width: int = 64) -> torch.Tensor:
    """(3, n, H, W) in [-1, 1], the same each time."""
    return torch.rand(3, frames, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def clip(frames: int, height: int = 64, width: int = 96) -> torch.Tensor:
    """Smooth colours that move: (3, n, H, W) in [-0.9, 0.9]."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    images = [torch.stack([torch.sin(3 * x + i / 3), torch.cos(2 * y + i / 5), x * y]) for i in range(frames)]
    return torch.stack(images, 1) * 0.9


def to_pixels(image: torch.Tensor) -> torch.Tensor:
    return image[..., :3].movedim(-1, 1) * 2 - 1


def write(path, x, codec=None, crf=None, rate=24, sound=None):
    with videos.VideoFile(path, videos.choose_encoding(path, codec, crf), rate, sound) as video:
        for some in x.split(4, 1):
            video.put(some)
    return path


def find_frames(path) -> list[tuple[int, int]]:
    """(place, bytes) of each frame in the file: encoders write other sizes with other numbers of threads."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


def read(path) -> torch.Tensor:
    return torch.cat(list(videos.open_frames(path, to_pixels).read()), 1)


def write_with(name, path, x, options=None):
    """With FFmpeg's own settings, also in containers that we only read."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(name, rate=24, options=options)
        stream.height, stream.width, stream.pix_fmt = *x.shape[2:], "yuv420p"
        for frame in ((x.movedim(0, -1) + 1) * 127.5).byte().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    return path
