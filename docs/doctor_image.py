"""The image of docs/doctor.md: python docs/doctor_image.py

It is drawn of a CPU that is made to lie: `pad` gives zeros for large images in bf16, as on MPS for large clips
(https://github.com/pytorch/pytorch/issues/194922).
"""

from pathlib import Path

import torch
from exact_vae.headless.image_files import levels
from exact_vae.vae_core import doctor, load
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

IMAGE = Path(__file__).parent / "images" / "doctor.png"
WIDTH, LARGE = 128, 10_000  # of the chart; pixels from which pads are lost
PAD = F.pad


def lose_pads(x: Tensor, sides: tuple[int, ...], *how: object, **more: object) -> Tensor:
    made = PAD(x, sides, *how, **more)  # type: ignore[arg-type]
    return torch.zeros_like(made) if x.dtype is torch.bfloat16 and x.shape[-2:].numel() > LARGE else made


def main() -> None:
    F.pad = lose_pads
    found = doctor.examine(load(), widths=(WIDTH,), dtypes=(torch.float32, torch.bfloat16))
    Image.fromarray(levels(doctor.draw_errors(found)[0].movedim(0, -1))).save(IMAGE, optimize=True)


if __name__ == "__main__":
    main()
