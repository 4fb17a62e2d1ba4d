"""What `exact-vae demo` left in the folder named on the command line: is the copy the photograph?"""

import sys
from pathlib import Path

from exact_vae.vae_core.images import psnr
from exact_vae.vae_core.readers import read


def main(folder: Path) -> None:
    original, copy = (read(folder / name)[0].movedim(-1, 1) for name in ("original.png", "decoded.png"))
    found = psnr(original, copy).item()
    print(f"{original.shape[-1]}x{original.shape[-2]}, {found:.1f} dB")
    if not found > 24:
        sys.exit("The copy is not the photograph.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
