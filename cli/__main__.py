"""python -m exact_vae.cli, which torchrun can start."""

from . import main

if __name__ == "__main__":
    raise SystemExit(main())
