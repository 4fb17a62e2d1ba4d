"""What a VAE is given in the place of tensors, sizes, options, devices: a result, or a sentence."""

import math

import pytest
import torch
from exact_vae.vae_core import SPACES, BadPixels, BadRequest, LatentMismatch, Tiles, convert, from_weights
from support.random_networks import random_weights, small_kl

WEIGHTS = random_weights("kl", small_kl())


@pytest.fixture(scope="module")
def vae():
    return from_weights(WEIGHTS, "small.safetensors")


Z = torch.zeros(1, 4, 8, 8)
ODD = {
    "of complex64": Z.cfloat(),
    "of bool": Z.bool(),
    "of int64": Z.long(),
    "of float8_e5m2": Z.to(torch.float8_e5m2),
    "a sparse one": Z.to_sparse(),
    "a mkldnn one": Z.to_mkldnn(),
    "a quantised one": torch.quantize_per_tensor(Z, 0.1, 0, torch.qint8),
    "a nested one": torch.nested.nested_tensor([Z[0]]),
    "a meta one": Z.to("meta"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("odd", ODD)
def test_tensors_of_other_kinds(vae, odd):
    """They are refused in a sentence, not decoded without their imaginary part."""
    for run in (vae.decode, vae.decode_rows, convert_as_sd1):
        with pytest.raises(LatentMismatch, match=f"a latent must be a .*tensor.*, not {odd}"):
            run(ODD[odd])
    with pytest.raises(BadPixels, match=f"pixels must be a .*tensor.*, not {odd}"):
        vae.encode(ODD[odd])


def convert_as_sd1(z):
    return convert(z, SPACES["sd1"], "raw", "scaled")


@pytest.mark.parametrize(
    "size", [5, "64x64", (64,), (8.0, 8), (8, None), (8, 8, 8), (0, 8), (33, 8), torch.ones(2), [math.nan, 8]], ids=str
)
def test_sizes_that_cannot_be(vae, size):
    """The image of a latent of 8x8 has 32x32 pixels."""
    for run in (vae.decode, vae.decode_rows):
        with pytest.raises(BadRequest, match="cannot be cropped to"):
            run(Z, size=size)


WRONG = {
    "rows": [2.5, "8", math.nan, [8]],
    "budget": [[1], "9" * 400, -1, math.nan, "", "a lot"],
    "tiles": [64, (64, 8), "64"],
    "keep": [3, ["disk"], "here"],
}


@pytest.mark.parametrize("name", WRONG)
def test_options_of_other_types(vae, name):
    for value in WRONG[name]:
        with pytest.raises(BadRequest):
            vae.decode(Z, **{name: value})


@pytest.mark.parametrize("sizes", [(64.5, 8), ("64", 8), (64, None), (math.nan, 0)], ids=str)
def test_tiles_of_other_types(sizes):
    with pytest.raises(BadRequest, match="whole pixels"):
        Tiles(*sizes)


FORMS = {
    "dtype": lambda vae: vae.to(torch.float64),
    "device, dtype": lambda vae: vae.to("cpu", torch.float64),
    "device and dtype": lambda vae: vae.to(torch.device("cpu"), torch.float64, True),
    "keywords": lambda vae: vae.to(device="cpu", dtype=torch.float64, non_blocking=True),
    "dtype alone": lambda vae: vae.to(dtype=torch.float64),
    "tensor": lambda vae: vae.to(torch.zeros(1, dtype=torch.float64)),
    "tensor keyword": lambda vae: vae.to(tensor=torch.zeros(1, dtype=torch.float64)),
    "keywords of how": lambda vae: vae.to(dtype=torch.float64, copy=True, memory_format=torch.channels_last),
    "double": lambda vae: vae.cpu().double(),
    "nothing, then dtype": lambda vae: vae.to("cpu").to(torch.float64),
}


@pytest.mark.parametrize("form", FORMS)
def test_to_takes_what_a_module_takes(form):
    vae = from_weights(WEIGHTS)
    assert FORMS[form](vae) is vae and vae.dtype is torch.float64 and vae.device.type == "cpu"


def test_it_is_cast_by_the_names_of_torch():
    vae = from_weights(WEIGHTS)
    assert vae.half().dtype is torch.float16 and vae.bfloat16().dtype is torch.bfloat16
    assert vae.float().dtype is torch.float32 and vae.cpu() is vae


def test_a_gpu_that_is_not_there_is_a_sentence():
    vae = from_weights(WEIGHTS)
    for index in (None, 77, "cuda:77") if not torch.cuda.is_available() else (77, "cuda:77"):
        with pytest.raises(BadRequest, match="cannot be used"):
            vae.cuda(index)


def test_a_keyword_that_torch_does_not_have_is_refused():
    with pytest.raises(BadRequest, match="'dtyp'"):
        from_weights(WEIGHTS).to(dtyp=torch.float16)


NO_PLACE = [torch.int8, torch.float8_e5m2, torch.complex64, "moon", "meta", 3.5, []]


@pytest.mark.parametrize("given", [*((one,) for one in NO_PLACE), ("cpu", "cpu")], ids=str)
def test_to_refuses_what_a_vae_cannot_be(given):
    vae = from_weights(WEIGHTS)
    with pytest.raises(BadRequest):
        vae.to(*given)
    assert vae.dtype is torch.float32 and vae.device.type == "cpu"


@pytest.mark.parametrize(
    "shape", [None, 5, "1x4", Z, (1, 4, 8), (1, 4, 0, 8), (1, 4, 8.5, 8), (1, 4, -8, 8), range(9), torch.Size([4])]
)
def test_shapes_that_cannot_be_planned(vae, shape):
    for ask in (vae.plan, vae.peak_bytes):
        with pytest.raises(BadRequest, match=r"no plan for .{1,80}: give \(B, C, H, W\)"):
            ask("decode", shape)


@pytest.mark.parametrize("said", ["fp16", "float16", "torch.bfloat16", "int8", torch.int8])
def test_texts_are_no_dtypes_and_no_devices_either(vae, said):
    """Not "the device 'fp16' cannot be used"."""
    for to in (lambda: vae.to(said), lambda: vae.to(dtype=said), lambda: vae.to("cpu", said)):
        with pytest.raises(BadRequest, match=r"a VAE cannot run in .*: choose a floating-point dtype"):
            to()
    with pytest.raises(BadRequest, match="a VAE cannot run in 'cuda'"):
        vae.to(dtype="cuda")
