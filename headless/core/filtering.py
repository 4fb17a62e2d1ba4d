"""Core nodes that look for edges in images, or make them poorer before a model sees them."""

from io import BytesIO

import numpy as np
import torch
from torch import Tensor

from ...vae_core import videos
from ...vae_core.errors import BadRequest
from .declaring import Core, whole
from .edges import find_edges

THRESHOLD = {"min": 0.01, "max": 0.99, "step": 0.01}
WORST = 51  # of H.264 in 8 bits; beyond it nothing changes


class Canny(Core):
    DESCRIPTION = "Finds the edges in images."
    LOW_TIP = "The gradient from which a pixel is an edge if it touches one."
    HIGH_TIP = "The gradient from which a pixel is an edge."
    TAKES = {"image": ("IMAGE",), "low_threshold": ("FLOAT", {"default": 0.4, **THRESHOLD, "tooltip": LOW_TIP}),
             "high_threshold": ("FLOAT", {"default": 0.8, **THRESHOLD, "tooltip": HIGH_TIP})}  # fmt: skip
    OUTPUT_TOOLTIPS = ("White edges on black.",)

    def run(self, image: Tensor, low_threshold: float, high_threshold: float) -> tuple[Tensor]:
        """-> (B, H, W, 3) of 0 and 1. Raises BadRequest."""
        if low_threshold > high_threshold:
            raise BadRequest(
                f"low_threshold is {low_threshold}, which is above high_threshold, {high_threshold}: swap the two"
            )
        return (find_edges(image, low_threshold, high_threshold)[..., None].repeat(1, 1, 1, 3),)


class LTXVPreprocess(Core):
    DESCRIPTION = "Gives images the faults of a compressed video, as LTX-Video was trained with them."
    TIP = "The quality of H.264: 0 leaves the images, more is poorer."
    TAKES = {"image": ("IMAGE",), "img_compression": whole(35, 0, 100, tooltip=TIP)}

    def run(self, image: Tensor, img_compression: int) -> tuple[Tensor]:
        """image: (B, H, W, C). -> (B, H, W, 3) of even sides. Raises BadRequest."""
        if img_compression == 0:
            return (image,)
        height, width = (side // 2 * 2 for side in image.shape[1:3])
        if not height or not width:
            raise BadRequest(f"an image of {image.shape[2]}x{image.shape[1]} has no video: it needs 2x2 pixels")
        levels = (image[:, :height, :width, :3].float() * 255).clamp(0, 255).byte().expand(-1, -1, -1, 3)
        made = [_compress(one.contiguous().numpy(), img_compression) for one in levels.cpu()]
        return (torch.stack(made).to(image.dtype) / 255,)


FILTERING = (Canny, LTXVPreprocess)


def _compress(levels: np.ndarray, crf: int) -> Tensor:
    """levels: (H, W, 3) uint8, even sides. Encoded as a video of one frame, and decoded. Raises BadRequest."""
    av = videos.import_av()
    file = BytesIO()
    with av.open(file, "w", format="mp4") as container:
        options = {"crf": str(min(crf, WORST)), "preset": "veryfast"}
        stream = container.add_stream("libx264", rate=1, options=options)
        stream.height, stream.width = levels.shape[:2]
        frame = av.VideoFrame.from_ndarray(levels, "rgb24").reformat(format="yuv420p")
        container.mux([*stream.encode(frame), *stream.encode()])
    file.seek(0)
    with av.open(file) as container:
        return torch.from_numpy(next(container.decode(video=0)).to_ndarray(format="rgb24"))
