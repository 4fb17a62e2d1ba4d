"""Files as programs write them: each is the plain file's equal, or refused in a sentence that says why.

A small VAE of some family is written under a prefix, within tables, in another dtype, container or in parts, with what
programs leave beside it, or with one fault; all of that combined.
"""

import json
import random
from functools import cache
from pathlib import Path

import torch
from exact_vae.vae_core import VAE, VAEError, from_weights, inspect, load
from exact_vae.vae_core.checkpoints.saving import layouts_of, weights_as
from safetensors.torch import save_file
from support.random_networks import random_weights
from support.small_networks import SMALL
from torch import Tensor

from attack.harness import Attack

Weights = dict[str, Tensor]

PREFIXES = ("first_stage_model.", "vae.", "model.", "first_stage.", "autoencoder.", "module.", "ema.", "ema_model.",
            "model_ema.", "generator.", "tokenizer.", "vae_model.", "student.", "net.", "model.vae.",
            "model.first_stage_model.", "vae.vae.", "pipeline.modules.vae.", "a.b.c.")  # fmt: skip
KEYS = ("state_dict", "model", "ema", "vae", "params", "params_ema", "generator", "module", "net", "weights", "a")
COMPILED = "_orig_mod."
DTYPES = ("float32", "float32", "float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e5m2")
QUANTISED = ("float8_e4m3fn", "float8_e5m2", "int8")
CONTAINERS = ("safetensors", "safetensors", "pickle", "old pickle", "folder", "shards", "shards of pickles")
ENDINGS = {"safetensors": (".safetensors", ".sft", ".pt", ".ckpt", ".vae.safetensors", ".bin"),
           "pickle": (".pt", ".pth", ".ckpt", ".bin", ".vae.pt", ".safetensors"),
           "old pickle": (".pt", ".pth", ".ckpt", ".safetensors")}  # fmt: skip
FOLDERS = ("{}.safetensors", "{}.fp16.safetensors", "{}.bf16.safetensors", "vae/{}.safetensors",
           "movq/{}.fp16.safetensors", "vqvae/{}.safetensors", "ae.safetensors", "vae/model.safetensors",
           "any name.safetensors", "vae/{}.bin")  # fmt: skip
USUAL = "diffusion_pytorch_model"
# What programs leave beside a VAE, in its own mapping or around it.
LEFTOVERS = ("loss.logvar", "loss.perceptual_loss.net.slice1.0.weight", "loss.discriminator.main.0.weight", "logvar",
             "global_step", "model_ema.decay", "model_ema.num_updates", "discriminator.main.0.weight", "scale_factor",
             "latents_mean", "latents_std", "lpips.lin0.model.1.weight", "foundation_model.blocks.0.attn.qkv.weight",
             "linear_proj.weight", "per_channel_statistics.mean-of-means", "mean", "std", "dummy", "latent_mean",
             "conditioner.embedders.0.transformer.weight", "cond_stage_model.transformer.weight",
             "model.diffusion_model.input_blocks.0.0.weight", "text_encoders.t5.weight")  # fmt: skip
# Of some families these are no leftovers: they read them, under several names, so that zeros of any shape spoil a file.
OWN = {"ltx_video": ("per_channel_statistics.mean-of-means",), "cosmos": ("mean", "std", "latent_mean")}
OTHER_HALF = {"encoder": ("decoder.", "taesd_decoder.", "post_quant_conv.", "conv2."),  # conv1, conv2 are Wan's
              "decoder": ("encoder.", "taesd_encoder.", "quant_conv.", "condition_encoder.", "conv1.")}  # fmt: skip
# Ones that programs put into shapes or leave out: of norms' weights, of convolutions that look at one pixel or frame.
ONES = ("", "", "", "(C, 1, 1)", "(1, C, 1, 1)", "(C, C)", "(C, C, 1)", "(C, C, 1, 1)")
FAULTS = ("lost", "stray", "bent", "cut", "part")


def make_case(rng: random.Random) -> dict:
    container, network = rng.choice(CONTAINERS), rng.choice(list(SMALL))
    only_one = network == "pixel"  # has one tensor, which says little, and has no parts
    container = "pickle" if only_one and container.startswith("shards") else container
    fault = rng.choice(FAULTS) if rng.random() < 0.3 and not only_one else ""
    old = container == "old pickle"  # of torch < 1.6, which had no numbers of 8 bits but int8
    return {
        "network": network,
        "layout": rng.choice(("original", "diffusers")),
        "half": rng.choice(("", "", "", "encoder", "decoder")),
        "dtype": rng.choice([dtype for dtype in DTYPES if not (old and "8" in dtype)]),
        "quantised": rng.choice(QUANTISED[2 * old :]) if rng.random() < 0.2 else "",
        "per_channel": rng.random() < 0.5,
        "scale": rng.choice((".weight_scale", ".scale_weight")),
        "prefix": rng.choice(PREFIXES) if rng.random() < 0.5 and not only_one else "",
        "compiled": rng.choice((0, 1, 2)) if rng.random() < 0.3 else 0,
        "ones": rng.choice(ONES),
        "container": container,
        "ending": rng.choice(ENDINGS.get(container, FOLDERS)),
        "keys": rng.choices(KEYS, k=rng.randrange(4)),
        "leftovers": rng.sample(LEFTOVERS, rng.randrange(4)) if rng.random() < 0.5 else [],
        "twin": rng.random() < 0.1 and not fault,
        "fault": fault,
        "parts": rng.randrange(2, 5),
        "chosen": rng.choice(("folder", "index", "part")),
        "pick": rng.randrange(2**30),
    }


@cache
def small(kind: str) -> VAE:
    return from_weights(random_weights(*SMALL[kind]), kind)


def list_plain(case: dict) -> Weights:
    """What the plain file holds: one layout's names, perhaps of one half, in one dtype."""
    vae = small(case["network"])
    layouts = layouts_of(vae.family)
    weights = weights_as(vae, case["layout"] if case["layout"] in layouts else layouts[0])
    if case["half"] in vae.parts and len(vae.parts) == 2:
        weights = {name: t for name, t in weights.items() if not name.startswith(OTHER_HALF[case["half"]])}
    dtype = getattr(torch, case["dtype"])
    return {name: t.to(dtype if t.is_floating_point() else t.dtype, copy=True) for name, t in weights.items()}


def quantise(weights: Weights, case: dict) -> tuple[Weights, Weights]:
    """(as programs store it, what it stands for)"""
    if not case["quantised"]:
        return weights, weights
    stored, exact, dtype = {}, {}, getattr(torch, case["quantised"])
    for name, t in weights.items():
        stored[name] = exact[name] = t
        if name.endswith(".weight") and t.ndim >= 4:
            t = t.float()
            rows = t.flatten(1).abs().amax(1) if case["per_channel"] else t.abs().amax().reshape(1)
            scale = (rows / 100).clamp(min=1e-6).reshape(-1, *(1,) * (t.ndim - 1))
            stored[name] = (t / scale).round().to(dtype)
            stored[name.removesuffix(".weight") + case["scale"]] = scale.flatten()
            exact[name] = stored[name].float() * scale
    return stored, exact


def reshape(weights: Weights, ones: str) -> Weights:
    """The same numbers, with other ones in the shapes of norms or of convolutions of one pixel."""
    shapes = {"(C, 1, 1)": (-1, 1, 1), "(1, C, 1, 1)": (1, -1, 1, 1)}
    axes = {"(C, C)": 0, "(C, C, 1)": 1, "(C, C, 1, 1)": 2}.get(ones)
    found = {}
    for name, t in weights.items():
        if t.ndim == 1 and ones in shapes and t.numel() > 1:
            t = t.reshape(shapes[ones])
        elif axes is not None and 4 <= t.ndim <= 5 and t.shape[2:].numel() == 1:
            t = t.reshape(*t.shape[:2], *(1,) * axes)
        found[name] = t
    return found


def rename(weights: Weights, case: dict) -> Weights:
    prefix, compiled = case["prefix"], case["compiled"]
    named = {}
    for name, t in weights.items():
        top, dot, rest = name.partition(".")
        inside = f"{top}.{COMPILED}{rest}" if compiled == 2 and dot else name
        named[f"{prefix}{COMPILED if compiled == 1 else ''}{inside}"] = t
    return named


def spoil(weights: Weights, case: dict, rng: random.Random) -> tuple[Weights, str]:
    """One tensor too few, too many or of another shape; and its name."""
    name = rng.choice([name for name, t in weights.items() if t.ndim > 1])
    if case["fault"] == "lost":
        return {other: t for other, t in weights.items() if other != name}, name
    if case["fault"] == "stray":
        module = name.rpartition(".")[0] or next(other.rpartition(".")[0] for other in weights if "." in other)
        name = f"{module}.more.weight"  # beside the modules, where statistics may be, anything may lie
        return {**weights, name: torch.zeros(3)}, name
    return {**weights, name: torch.zeros(7, *weights[name].shape)}, name


def write_file(path: Path, weights: Weights, case: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if case["container"] in ("safetensors", "folder", "shards") and path.suffix != ".bin":
        save_file({name: t.contiguous() for name, t in weights.items()}, path)
        return
    content: dict = dict(weights)
    for key in reversed(case["keys"]):
        content = {key: content, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "lr": 0.1}}
    torch.save(content, path, _use_new_zipfile_serialization=case["container"] != "old pickle")


def write_parts(folder: Path, weights: Weights, case: dict) -> Path:
    """In so many files beside an index; what of it is chosen."""
    pickled = case["container"] == "shards of pickles"
    ending, names, count = ".bin" if pickled else ".safetensors", sorted(weights), case["parts"]
    files = [f"{USUAL}-{i + 1:05}-of-{count:05}{ending}" for i in range(count)]
    for i, file in enumerate(files):
        write_file(folder / file, {name: weights[name] for name in names[i::count]}, case)
    index = folder / f"{USUAL}{ending}.index.json"
    index.write_text(json.dumps({"weight_map": {name: files[i % count] for i, name in enumerate(names)}}))
    if case["fault"] == "part":
        (folder / files[-1]).unlink()
    return {"folder": folder, "index": index, "part": folder / files[case["pick"] % (count - 1)]}[case["chosen"]]


def write_case(weights: Weights, case: dict, folder: Path) -> Path:
    if case["container"].startswith("shards"):
        return write_parts(folder, weights, case)
    name = case["ending"].format(USUAL) if case["container"] == "folder" else f"file{case['ending']}"
    path = folder / name
    write_file(path, weights, case)
    if case["fault"] == "cut":
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * (case["pick"] % 90 + 5) // 100])
    return folder if case["container"] == "folder" else path


def read(path: Path, case: dict) -> VAE:
    """As it is loaded, in the dtype that is run; the inspection says the same of it."""
    found, vae = inspect(path), load(path, dtype=torch.float32)
    assert (found.family, found.config, found.is_whole) == (vae.family, vae.config, True)
    return vae


def load_as_the_plain_one(case: dict, folder: Path) -> None:
    stored, exact = quantise(list_plain(case), case)
    save_file({name: t.contiguous() for name, t in exact.items()}, folder / "plain.safetensors")
    plain = load(folder / "plain.safetensors", dtype=torch.float32)
    weights, culprit, rng = stored, "", random.Random(case["pick"])
    if case["fault"] in ("lost", "stray", "bent"):
        weights, culprit = spoil(weights, case, rng)
    weights = rename(reshape(weights, case["ones"]), case)
    own = {*stored, *OWN.get(plain.family, ())}
    weights |= {name: torch.zeros(2, 2) for name in case["leftovers"] if name not in own}
    if case["twin"] and case["prefix"].startswith(("ema.", "ema_model.")):
        weights |= {f"student.{name}": t.float() + 1 for name, t in stored.items()}
    path = write_case(weights, case, folder / "made")
    try:
        vae = read(path, case)
    except VAEError as e:
        assert is_spoiled(case), f"the plain file loads, this one does not: {e}"
        demand_true(str(e), case, culprit)
        raise
    assert not is_spoiled(case), f"loaded, in spite of {case['fault']} ({culprit})"
    assert (vae.family, vae.config) == (plain.family, plain.config)
    have, want = vae.network.state_dict(), plain.network.state_dict()
    assert have.keys() == want.keys()
    assert all(torch.equal(have[name], want[name]) for name in want), "other numbers than the plain file's"


def is_spoiled(case: dict) -> bool:
    in_parts = case["container"].startswith("shards")
    return case["fault"] in ("lost", "stray", "bent") or case["fault"] == ("part" if in_parts else "cut")


def demand_true(said: str, case: dict, culprit: str) -> None:
    """It names the tensor at fault, or says that a part is missing, or the file cut off."""
    words = {"cut": ("cut off", "damaged", "no safetensors file"), "part": ("are missing", "not beside it")}
    tensor = culprit.rpartition(".")[2]
    assert any(word in said for word in words.get(case["fault"], (tensor,))), f"not the truth: {said}"


ATTACKS = (Attack("kinds of files", make_case, load_as_the_plain_one, 10_000, share=0.008),)
