"""What `exact-vae cache export` writes beside what a trainer's own code makes of the same images and weights.

    python benchmarks/trainers.py CHECKOUTS [--only NAME] [--folder FOLDER]

CHECKOUTS holds sd-scripts and musubi-tuner (kohya-ss) as git leaves them; their code is run, not copied. It needs
opencv-python-headless, transformers, accelerate, imagesize, toml, einops and ftfy. VAEs have the published sizes and
random weights, in float32. Images are larger and smaller than their buckets. For each model are told

- names      have the files the trainer's names, tensors and metadata?
- latents    the largest difference to what the trainer's own crop, resizing and encoder give, and how far each of the
             two is from ours in float64: what is above that is no rounding
- loader     does the trainer's own loader take our files, and give what is in them?

Where a trainer draws a sample of the posterior, the mean is compared: its noise is of its own making.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import numpy as np
import torch
from exact_vae.batch import Export, Loading, Recipe, Request, Store, build, export
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

SIZES = ((150, 100), (65, 175), (128, 128), (45, 55))
SD_SCRIPTS, MUSUBI = "sd-scripts", "musubi"
SIDES = (64, 256)
RECIPES = {
    SD_SCRIPTS: Recipe((128, 128), 32, buckets="sd-scripts", sides=SIDES, flip=True),
    MUSUBI: Recipe((128, 128), 16, buckets="musubi"),
}
# What their modules import at their top, and none of this runs; torchvision gives them two ops, which are below.
UNUSED = ("torchvision", "torchvision.transforms", "library.lpw_stable_diffusion", "library.sdxl_lpw_stable_diffusion")


class Case(NamedTuple):
    """A model of a trainer. make: its VAE with random weights, which it writes to the file or folder for ours."""

    trainer: str
    model: str
    make: Callable[[Path], Any]


@dataclass
class Found:
    """names, loader: as this file says. error: the largest; ours, theirs: from float64. spread: of their latents."""

    names: bool = True
    error: float = 0.0
    ours: float = 0.0
    theirs: float = 0.0
    loader: bool = True
    spread: float = 0.0
    files: int = 0


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("checkouts", type=Path)
    options.add_argument("--only", help="a model's name")
    options.add_argument("--folder", type=Path)
    chosen = options.parse_args()
    logging.disable(logging.WARNING)
    use(chosen.checkouts)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        make_images(folder / "photos")
        print("| trainer | model | names | difference | ours from float64 | theirs | spread of latents | its loader |")
        print("|---|---|---|---|---|---|---|---|")
        for case in CASES:
            if chosen.only in (None, case.model):
                found = try_case(case, folder)
                said = f"{found.error:.1e} | {found.ours:.1e} | {found.theirs:.1e} | {found.spread:.2f}"
                names, loader = "its own" if found.names else "OTHERS", "takes them" if found.loader else "REFUSES"
                print(f"| {case.trainer} | {case.model} | {names} | {said} | {loader} |")
                sys.stdout.flush()


def use(checkouts: Path) -> None:
    import diffusers  # noqa: F401  before torchvision is there in name
    import transformers  # noqa: F401

    sys.path[:0] = [str(checkouts / "sd-scripts"), str(checkouts / "musubi-tuner" / "src")]
    sys.modules.update({name: MagicMock() for name in UNUSED})
    torch.cuda.current_device = lambda: 0  # an argument's default there


def make_images(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, (width, height) in enumerate(SIZES):
        small = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(folder / f"image{number}.png")
        (folder / f"image{number}.txt").write_text("an image")  # musubi leaves out images without


def try_case(case: Case, folder: Path) -> Found:
    place = folder / f"{case.trainer} {case.model}"
    place.mkdir()
    torch.manual_seed(0)
    with torch.no_grad():
        theirs = case.make(place / "vae")
        weights = next(path for path in (place / "vae", place / "vae.safetensors") if path.exists())
        for name, dtype in (("ours", torch.float32), ("exact", torch.float64)):
            cache = place / f"cache of {name}"
            build(Request(folder / "photos", cache, Loading((weights,), dtype), RECIPES[case.trainer]))
            export(Store(cache), Export(case.trainer, place / name, case.model))
        found = RUNS[case.trainer](case, theirs, folder / "photos", place)
    if found.files != len(SIZES):
        raise SystemExit(f"{case.trainer} took {found.files} of {len(SIZES)} images for {case.model}")
    return found


# sd-scripts


def run_sd_scripts(case: Case, vae: Any, photos: Path, place: Path) -> Found:
    train_util = import_module("library.train_util")
    vars(train_util)["IMAGE_TRANSFORMS"] = lambda image: (torch.from_numpy(image).movedim(-1, 0) / 255 - 0.5) / 0.5
    strategy = STRATEGIES[case.model]()
    recipe = RECIPES[SD_SCRIPTS]
    buckets = train_util.BucketManager(False, recipe.area, *SIDES, recipe.step)
    buckets.make_buckets()
    found = Found()
    for path in sorted(photos.glob("*.png")):
        info = train_util.ImageInfo(path.name, 1, "", False, str(path))
        with Image.open(path) as image:
            info.image_size = image.size
        info.bucket_reso, info.resized_size, _ = buckets.select_bucket(*info.image_size)
        info.latents_npz = strategy.get_latents_npz_path(str(path), info.image_size)
        strategy.cache_batch_latents(vae, [info], True, False, False)
        ours = place / "ours" / Path(info.latents_npz).name
        compare_npz(ours, Path(info.latents_npz), found)
        found.loader &= strategy.is_disk_cached_latents_expected(info.bucket_reso, str(ours), True, False)
        taken = strategy.load_latents_from_disk(str(ours), info.bucket_reso)
        wanted = strategy.load_latents_from_disk(info.latents_npz, info.bucket_reso)
        found.loader &= taken[1:3] == wanted[1:3] and taken[0].shape == wanted[0].shape and taken[3] is not None
        Path(info.latents_npz).unlink()
    return found


def compare_npz(ours: Path, theirs: Path, found: Found) -> None:
    count(ours, theirs, found)
    with np.load(ours) as one, np.load(theirs) as other, np.load(find_exact(ours)) as exact:
        found.names &= set(one.files) == set(other.files)
        found.names &= all(one[name].dtype == other[name].dtype for name in other.files if name in one.files)
        for name in other.files:
            measure(*(torch.from_numpy(file[name]) for file in (one, other, exact)), found)


def count(ours: Path, theirs: Path, found: Found) -> None:
    """A file that only the trainer wrote ends the comparison."""
    if not ours.exists():
        raise SystemExit(f"'{theirs.name}' was not exported, but {sorted(one.name for one in ours.parent.iterdir())}")
    found.files += 1


def find_exact(ours: Path) -> Path:
    return ours.parent.parent / "exact" / ours.name


def measure(ours: torch.Tensor, theirs: torch.Tensor, exact: torch.Tensor, found: Found) -> None:
    found.error = max(found.error, differ(ours, theirs))
    found.ours, found.theirs = max(found.ours, differ(ours, exact)), max(found.theirs, differ(theirs, exact))
    if theirs.ndim > 2:
        found.spread = float(theirs.std())


def differ(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.double() - other.double()).abs().max())


def make_sd(place: Path) -> Any:
    diffusers = import_module("diffusers")
    widths = (128, 256, 512, 512)
    vae = diffusers.AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    )
    vae.save_pretrained(place)
    gaussian = import_module("diffusers.models.autoencoders.vae").DiagonalGaussianDistribution
    gaussian.sample = gaussian.mode  # the mean is compared
    return vae.eval()


def make_flux(place: Path) -> Any:
    models = import_module("library.flux_models")
    vae = models.AutoEncoder(models.configs["dev"].ae_params).eval()
    save_file(vae.state_dict(), place.with_suffix(".safetensors"))
    vae.reg.sample = False
    return vae


def make_qwen(place: Path, module: str) -> Any:
    vae = import_module(module).AutoencoderKLQwenImage().eval()
    save_file(vae.state_dict(), place.with_suffix(".safetensors"))
    return vae


def of_sd_scripts(module: str, name: str, *first: Any) -> Callable[[], Any]:
    return lambda: getattr(import_module(module), name)(*first, True, 1, False)


STRATEGIES = {
    "sd": of_sd_scripts("library.strategy_sd", "SdSdxlLatentsCachingStrategy", True),
    "sdxl": of_sd_scripts("library.strategy_sd", "SdSdxlLatentsCachingStrategy", False),
    "flux": of_sd_scripts("library.strategy_flux", "FluxLatentsCachingStrategy"),
    "lumina": of_sd_scripts("library.strategy_lumina", "LuminaLatentsCachingStrategy"),
    "anima": of_sd_scripts("library.strategy_anima", "AnimaLatentsCachingStrategy"),
}


# musubi-tuner


def run_musubi(case: Case, vae: Any, photos: Path, place: Path) -> Found:
    dataset = open_dataset(case.model, photos, place / "theirs")
    found = Found()
    for _, batch in dataset.retrieve_latent_cache_batches(1):
        ENCODERS[case.model](vae, batch)
        for item in batch:
            compare_safetensors(place / "ours" / Path(item.latent_cache_path).name, Path(item.latent_cache_path), found)
            text = {"varlen_t5_float32": torch.zeros(1, 8)}  # of the caption, which the loader wants beside it
            save_file(text, place / "ours" / Path(item.text_encoder_output_cache_path).name)
    ours = open_dataset(case.model, photos, place / "ours")
    ours.prepare_for_training()
    taken = [ours[number]["latents"] for number in range(len(ours))]
    kept = [load_file(path) for path in sorted((place / "ours").glob(f"*_{case.model}.safetensors"))]
    stored = [next(iter(one.values())) for one in kept]
    found.loader = len(taken) == len(stored) == len(SIZES) and all(
        any(torch.equal(one[0], other) for other in stored) for one in taken
    )
    return found


def open_dataset(model: str, photos: Path, cache: Path) -> Any:
    cache.mkdir(exist_ok=True)
    dataset = import_module("musubi_tuner.dataset.image_video_dataset").ImageDataset(
        RECIPES[MUSUBI].area, ".txt", 1, 1, True, False, str(photos), cache_directory=str(cache), architecture=model
    )
    dataset.seed, dataset.current_epoch = 0, 0
    dataset.set_seed(0, SimpleNamespace(value=0))
    return dataset


def compare_safetensors(ours: Path, theirs: Path, found: Found) -> None:
    count(ours, theirs, found)
    with safe_open(ours, "pt") as one, safe_open(theirs, "pt") as other, safe_open(find_exact(ours), "pt") as exact:
        found.names &= set(one.keys()) == set(other.keys()) and one.metadata() == other.metadata()
        for name in other.keys():  # noqa: SIM118
            measure(*(file.get_tensor(name) for file in (one, other, exact)), found)


def make_wan(place: Path) -> Any:
    module = import_module("musubi_tuner.wan.modules.vae")
    model = module.WanVAE_(dim=96, z_dim=16, temperal_downsample=[False, True, True])
    file = place.with_suffix(".safetensors")
    save_file(model.state_dict(), file)
    return module.WanVAE(vae_path=str(file), dtype=torch.float32, device=torch.device("cpu"))


def make_z_image(place: Path) -> Any:
    diffusers = import_module("diffusers")
    vae = diffusers.AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=16,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=0.3611,
        shift_factor=0.1159,
    )
    vae.save_pretrained(place)
    loader = import_module("musubi_tuner.zimage.zimage_autoencoder").load_autoencoder_kl
    return loader(str(place / "diffusion_pytorch_model.safetensors")).eval()


def make_flux2(place: Path) -> Any:
    models = import_module("musubi_tuner.flux_2.flux2_models")
    vae = models.AutoEncoder(models.AutoEncoderParams()).eval()
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2)
    save_file(vae.state_dict(), place.with_suffix(".safetensors"))
    return vae


def of_musubi(module: str, *more: Any) -> Callable[[Any, Any], None]:
    def encode(vae: Any, batch: Any) -> None:
        with quiet():
            import_module(f"musubi_tuner.{module}").encode_and_save_batch(vae, batch, *more)

    return encode


@contextmanager
def quiet() -> Iterator[None]:
    module: ModuleType = sys.modules["builtins"]
    before = vars(module)["print"]
    vars(module)["print"] = lambda *all, **more: None
    try:
        yield
    finally:
        vars(module)["print"] = before


def encode_wan(vae: Any, batch: Any) -> None:
    import_module("musubi_tuner.wan_cache_latents").encode_and_save_batch(vae, None, False, batch)


ENCODERS: dict[str, Callable[[Any, Any], None]] = {
    "wan": encode_wan,
    "qi": of_musubi("qwen_image_cache_latents", False),
    "zi": of_musubi("zimage_cache_latents"),
    "f2d": of_musubi("flux_2_cache_latents", "flux_2_dev"),
}
RUNS = {SD_SCRIPTS: run_sd_scripts, MUSUBI: run_musubi}
CASES = (
    Case(SD_SCRIPTS, "sd", make_sd),
    Case(SD_SCRIPTS, "sdxl", make_sd),
    Case(SD_SCRIPTS, "flux", make_flux),
    Case(SD_SCRIPTS, "lumina", make_flux),
    Case(SD_SCRIPTS, "anima", lambda place: make_qwen(place, "library.qwen_image_autoencoder_kl")),
    Case(MUSUBI, "wan", make_wan),
    Case(MUSUBI, "qi", lambda place: make_qwen(place, "musubi_tuner.qwen_image.qwen_image_autoencoder_kl")),
    Case(MUSUBI, "zi", make_z_image),
    Case(MUSUBI, "f2d", make_flux2),
)


if __name__ == "__main__":
    main()
