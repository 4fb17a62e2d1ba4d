"""Odd tensors at every entry of the library, and latents on their way through nodes that know nothing of tags."""

import math
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from exact_vae.nodes import host
from exact_vae.vae_core import SPACES, Tag, Tiles, convert, from_weights, images, latents, preview, read_latent
from exact_vae.vae_core.checkpoints.files import open_checkpoint
from exact_vae.vae_core.latents import Factors, write_latent
from support.node_calls import call, run_node, sample_image
from support.random_networks import random_weights, small_kl
from torch import Tensor

from attack.harness import Attack

SHAPES = ((), (0,), (4,), (4, 8), (4, 8, 8), (1, 4, 8, 8), (2, 4, 8, 8), (1, 4, 1, 1), (1, 4, 0, 8), (0, 4, 8, 8),
          (1, 4, 2, 8, 8), (1, 3, 16, 16), (1, 3, 7, 9), (1, 3, 2, 8, 8), (1, 16, 4, 4), (1, 128, 2, 2), (1, 16, 64),
          (1, 15, 64), (1, 4, 128), (1, 1, 16, 16), (1, 1, 1, 1, 1, 1))  # fmt: skip
DTYPES = (torch.float32, torch.float32, torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool,
          torch.uint8, torch.int64, torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2)  # fmt: skip
KINDS: dict[str, Callable[[Tensor], Any]] = {
    "dense": lambda x: x,
    "a view": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0) if x.ndim else x,
    "expanded": lambda x: x[:1].expand(x.shape) if x.ndim and len(x) else x,
    "a parameter": lambda x: torch.nn.Parameter(x, requires_grad=x.is_floating_point()),
    "sparse": lambda x: x.to_sparse(),
    "meta": lambda x: x.to("meta"),
    "mkldnn": lambda x: x.to_mkldnn(),
    "nested": lambda x: torch.nested.nested_tensor(list(x)),
    "quantised": lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
    "numpy": lambda x: x.numpy(),
    "a list": lambda x: x.tolist(),
    "none": lambda x: None,
}
NUMBERS = (0.0, 1.0, -1.0, 0.3, 99.0, 255.0, 1e6, 1e7, 1e18, 1e30, math.inf, -math.inf, math.nan)
VALUES = (None, 0, 1, -1, 8, 2.5, math.nan, math.inf, "8", "1GiB", "9" * 400, (), (8,), (8, 8), (32, 32), (0, 8),
          (9, "x"), [8, 8], (8, 8, 8), True, "disk", "device", Tiles(16, 4), 2**80)  # fmt: skip


@cache
def small_vae():
    return from_weights(random_weights("kl", small_kl()), "small")


def make_case(rng: random.Random) -> dict[str, Any]:
    tensors = [
        {
            "shape": rng.choice(SHAPES),
            "dtype": str(rng.choice(DTYPES)),
            "kind": rng.choice(list(KINDS)) if rng.random() < 0.4 else "dense",
            "number": rng.choice(NUMBERS) if rng.random() < 0.3 else None,
        }
        for _ in range(2)
    ]
    return {"entry": rng.choice(list(ENTRIES)), "tensors": tensors, "values": [rng.choice(VALUES) for _ in range(2)]}


def build(told: dict[str, Any]) -> Any:
    dtype = getattr(torch, told["dtype"].removeprefix("torch."))
    x = torch.rand(told["shape"], generator=torch.Generator().manual_seed(0)) * 2 - 1
    if told["number"] is not None and x.numel():
        x.view(-1)[-1] = told["number"]
    try:
        return KINDS[told["kind"]](x.to(dtype))
    except (RuntimeError, TypeError, NotImplementedError):  # torch has no such tensor of this dtype
        return x.to(dtype)


def is_dense(x: Any) -> bool:
    return isinstance(x, Tensor) and not x.is_nested and x.layout is torch.strided


class Rows:
    """An image that is read in bands, whatever it is."""

    def __init__(self, x: Any, shape: Any):
        self.x, self.shape = x, shape

    def read(self):
        return iter(self.x.split(5, -2) if is_dense(self.x) and self.x.ndim > 1 else [self.x])


def run_decoder(x: Any, y: Any, a: Any, b: Any, folder: Path) -> Any:
    return small_vae().decode(x, size=a)


def run_decoder_oddly(x: Any, y: Any, a: Any, b: Any, folder: Path) -> Any:
    return small_vae().decode(x, rows=a, budget=b)


def run_rows(x: Any, y: Any, a: Any, b: Any, folder: Path) -> Any:
    return list(small_vae().decode_rows(x, size=a, keep=b))


def run_encoder(x: Any, y: Any, a: Any, b: Any, folder: Path) -> Any:
    return small_vae().encode(x, rows=a, tiles=b).mode()


def read_rows(x: Any, y: Any, a: Any, b: Any, folder: Path) -> Any:
    image = x[0] if is_dense(x) and x.ndim == 4 and len(x) else x
    return small_vae().encode_rows(Rows(image, tuple(image.shape) if is_dense(image) else a)).mode()


def interpolate(x: Any, y: Any, a: Any, b: Any, folder: Path) -> Any:
    return latents.interpolate(x, y, 0.5), latents.walk(x, y, 2)


def keep_in_a_file(x: Any, y: Any, a: Any, b: Any, folder: Path) -> Any:
    write_latent(folder / "x.safetensors", x, Tag("kl", 4, 8, (8, 8), (61, 60)))
    return read_latent(folder / "x.safetensors")[0]


def load_weights(x: Any, y: Any, a: Any, b: Any, folder: Path) -> Any:
    try:
        torch.save({"x": x, "y": y}, folder / "x.pt")
    except (RuntimeError, NotImplementedError):  # torch cannot save such
        return
    checkpoint = open_checkpoint(folder / "x.pt")
    for _, tensor in checkpoint.tensors(checkpoint.entries):
        tensor.clone()


def give_node_a_latent(x: Any, y: Any, a: Any, b: Any, folder: Path) -> Any:
    return call("ExactVAEDecode", samples={"samples": x, "noise_mask": y}, vae=small_vae())


def give_node_an_image(x: Any, y: Any, a: Any, b: Any, folder: Path) -> Any:
    image = x.movedim(1, -1) if is_dense(x) and x.ndim == 4 else x
    return call("ExactVAEEncodeForInpaint", pixels=image, mask=y, vae=small_vae(), grow_mask_by=6)["samples"]


ENTRIES: dict[str, Callable[[Any, Any, Any, Any, Path], Any]] = {
    "decode": run_decoder,
    "decode, oddly": run_decoder_oddly,
    "decode_rows": run_rows,
    "encode": run_encoder,
    "encode_rows": read_rows,
    "convert": lambda x, y, a, b, folder: convert(x, SPACES["sd1"], "raw", "scaled"),
    "interpolate": interpolate,
    "preview": lambda x, y, a, b, folder: preview(x, Factors(torch.ones(4, 3), torch.zeros(3))),
    "unpack": lambda x, y, a, b, folder: latents.unpack(x)[0],
    "mask": lambda x, y, a, b, folder: images.masks.resize(x, (8, 8)),
    "a file of a latent": keep_in_a_file,
    "a file of weights": load_weights,
    "weights": lambda x, y, a, b, folder: from_weights({"decoder.conv_in.weight": x, "encoder.conv_in.weight": y}),
    "a node's latent": give_node_a_latent,
    "a node's image": give_node_an_image,
}
# What these make of finite numbers is finite; the others pass on what they are given.
FINITE = ("decode", "decode, oddly", "decode_rows", "encode", "encode_rows", "mask", "a file of a latent",
          "a node's latent", "a node's image")  # fmt: skip


def attempt_case(case: dict[str, Any], folder: Path) -> None:
    made = ENTRIES[case["entry"]](*map(build, case["tensors"]), *case["values"], folder)
    results = [one for one in (made if isinstance(made, list | tuple) else [made]) if isinstance(one, Tensor)]
    assert all(one.dtype.is_floating_point and not one.is_meta for one in results)
    assert case["entry"] not in FINITE or all(one.isfinite().all() for one in results), "numbers that are not finite"


# Nodes between encoder and decoder: of core's, which copy the tag; and of ours, which keep what is true.
FLIPS = {"flip vertically": (2,), "flip horizontally": (3,), "rotate by 180": (2, 3)}
HARMLESS = ("sampler", "multiply", "repeat", "first of batch")
OURS = ("save and load", "convert", "add noise")


def make_way(rng: random.Random) -> list[str]:
    way = [rng.choice((*FLIPS, *HARMLESS, *OURS)) for _ in range(rng.randrange(1, 6))]
    if rng.random() < 0.1:
        return [*way, "broken"]
    noisy = sum(step in ("sampler", "add noise") for step in way)
    return [*way, "batch"] if rng.random() < 0.2 and not noisy else way


def go(step: str, latent: dict[str, Any], rng: torch.Generator) -> dict[str, Any]:
    z = latent["samples"]
    noise = 0.2 * z.std() * torch.randn(z.shape, generator=rng)
    if step in FLIPS:
        return {**latent, "samples": z.flip(FLIPS[step])}
    if step == "save and load":
        name = run_node("ExactSaveLatent", samples=latent, filename_prefix="x")["ui"]["latents"][0]["filename"]
        return call("ExactLoadLatent", latent=f"{name} [output]")
    if step == "convert":
        there = call("ExactConvertLatent", samples=latent, to="scaled", latent_space="sd1")
        return call("ExactConvertLatent", samples=there, to="raw")
    if step == "add noise":
        how = {"seed": 1, "width": 8, "height": 8, "batch_size": 1, "strength": 0.2 * z.std().item()}
        return call("ExactLatentNoise", **how, samples=latent, add_to_samples=True)
    other = torch.randn(1, *z.shape[1:], generator=rng)
    changed = {"sampler": z + noise, "multiply": z * 0.9, "repeat": torch.cat([z, z]), "first of batch": z[:1],
               "batch": torch.cat([z, other]), "broken": z / 0}  # fmt: skip
    return {**latent, "samples": changed[step]}


def attempt_way(way: list[str], folder: Path) -> None:
    """An image is cropped to its size if its latent lies as it did, and never otherwise. A broken latent is refused."""
    size = (21, 27)  # the ratio is 4
    rng = torch.Generator().manual_seed(len(way))
    turned, is_known = set(), True
    with host.surroundings(folder, None, folder, folder):
        latent = call("ExactVAEEncode", pixels=sample_image(*size), vae=small_vae())
        for step in way:
            latent = go(step, latent, rng)
            turned ^= set(FLIPS.get(step, ()))
            is_known = is_known and step != "batch" and not (turned and step in OURS)
        found = tuple(call("ExactVAEDecode", samples=latent, vae=small_vae()).shape[1:3])
    assert "broken" not in way, "infinity was decoded"
    want = size if is_known and not turned else (24, 28)
    assert found == want, f"{found} instead of {want}"


ATTACKS = [
    Attack("odd tensors", make_case, attempt_case, 10_000),
    Attack("latents through nodes", make_way, attempt_way, 1_000),
]
