"""What comes into a node is checked before it computes with it, and the sentence names the input."""

import math

import pytest
import torch
from exact_vae.headless import core_nodes
from exact_vae.nodes import NODE_CLASS_MAPPINGS
from exact_vae.vae_core import NumericalOverflow, VAEError
from support.node_calls import call, latent, run_node, sample_image

NODES = pytest.mark.parametrize("node", NODE_CLASS_MAPPINGS)
SOCKETS = {
    "IMAGE": lambda: sample_image(16, 16),
    "MASK": lambda: torch.ones(1, 16, 16),
    "LATENT": lambda: latent(1, 4, 4, 4),
}
SHOWS_ANY = ("ExactLatentInspect", "samples")


def inputs(node):
    types = NODE_CLASS_MAPPINGS[node].INPUT_TYPES()
    return {**types["required"], **types.get("optional", {})}


def given(node, vae):
    """Inputs that a graph may give a node, of all its sockets and numbers."""
    found = {}
    for name, (kind, options) in inputs(node).items():
        if str(kind) in SOCKETS:
            found[name] = SOCKETS[kind]()
        elif kind == "VAE":
            found[name] = vae
        elif kind in ("INT", "FLOAT"):
            found[name] = options["default"]
        elif name in NODE_CLASS_MAPPINGS[node].INPUT_TYPES()["required"]:
            found[name] = options.get("default", kind[0] if isinstance(kind, list) and kind else "")
    return found


@NODES
def test_every_node_checks_its_inputs(node):
    cls = NODE_CLASS_MAPPINGS[node]
    assert cls.FUNCTION in vars(cls) and hasattr(vars(cls)[cls.FUNCTION], "__wrapped__")


@NODES
def test_no_number_is_taken_that_is_none_or_out_of_bounds(node, vae):
    """The host compares what is typed with its bounds, which NaN passes, and nothing that comes through a socket."""
    for name, (kind, options) in inputs(node).items():
        beyond = [options.get("max", 0) + 1, options.get("min", 0) - 1]
        bad = {"FLOAT": [math.nan, math.inf, -math.inf, "0.5", *beyond], "INT": [0.5, math.nan, "1", *beyond]}
        for value in bad.get(str(kind), []):
            with pytest.raises(VAEError, match=f"^{name} is "):
                run_node(node, **{**given(node, vae), name: value})


WITH_SOCKETS = pytest.mark.parametrize(
    ("node", "name", "kind"),
    [(n, name, kind) for n in NODE_CLASS_MAPPINGS for name, (kind, _) in inputs(n).items() if str(kind) in SOCKETS],
)


@WITH_SOCKETS
def test_no_tensor_is_taken_with_numbers_that_are_none(node, name, kind, vae):
    if (node, name) == SHOWS_ANY:
        return
    for number in (math.nan, math.inf, -math.inf, *([] if kind == "MASK" else [1e18])):
        value = SOCKETS[kind]()
        (value["samples"] if kind == "LATENT" else value).view(-1)[3] = number
        with pytest.raises(VAEError, match=f"'{name}' (hold|reach|is)"):
            run_node(node, **{**given(node, vae), name: value})


ODD = {
    "complex": lambda x: x.cfloat(),
    "bool": lambda x: x > 0,
    "whole": lambda x: x.to(torch.uint8),
    "fp8": lambda x: x.to(torch.float8_e4m3fn),
    "sparse": lambda x: x.to_sparse(),
    "meta": lambda x: x.to("meta"),
    "mkldnn": lambda x: x.to_mkldnn(),
    "nested": lambda x: torch.nested.nested_tensor(list(x)),
    "quantised": lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
    "0-d": lambda x: x.sum(),
    "a list": lambda x: x.tolist(),
    "empty": lambda x: x[:0],
}


@WITH_SOCKETS
@pytest.mark.filterwarnings("ignore")
def test_odd_tensors_are_named(node, name, kind, vae, folders):
    """Whatever a socket may carry, an answer is a result or a sentence."""
    for odd, make in ODD.items():
        value = SOCKETS[kind]()
        bent = {"samples": make(value["samples"])} if kind == "LATENT" else make(value)
        try:
            run_node(node, **{**given(node, vae), name: bent})
        except VAEError:
            continue
        # A mask of whole numbers is one, and a latent of any shape can be kept.
        assert (kind, odd) in {("MASK", "whole"), ("MASK", "bool"), ("MASK", "fp8")} or node == "ExactSaveLatent"


@WITH_SOCKETS
def test_none_of_a_node_before_is_a_sentence_where_something_is_needed(node, name, kind, vae, folders):
    none = {**given(node, vae), name: None}
    if name in NODE_CLASS_MAPPINGS[node].INPUT_TYPES()["required"]:
        with pytest.raises(VAEError, match="NoneType"):
            run_node(node, **none)
    else:
        run_node(node, **none)


def test_core_s_save_latent_keeps_nothing_broken(folders, vae):
    nodes = core_nodes(folders / "in", folders / "out", folders / "tmp", NODE_CLASS_MAPPINGS)
    broken = latent(1, 4, 4, 4)
    broken["samples"][0, 0, 0, 0] = math.nan
    with pytest.raises(NumericalOverflow, match="NaN or infinity"):
        nodes["SaveLatent"]().save(broken, "x")
    assert not list((folders / "out").rglob("*.latent"))


@pytest.mark.parametrize("factor", [1e7, 1e18, 1e19, 1e30])
@pytest.mark.parametrize("rows", [None, 8])
def test_whole_and_bands_refuse_alike(vae, factor, rows):
    with pytest.raises(NumericalOverflow, match="this latent reaches"):
        vae.decode(torch.randn(1, 4, 8, 8) * factor, rows=rows)


def test_noise_of_the_largest_strength_is_still_a_latent(vae):
    made = call("ExactLatentNoise", seed=1, width=64, height=64, batch_size=1, strength=1000.0, vae=vae)
    assert call("ExactVAEDecode", samples=made, vae=vae).shape == (1, 64, 64, 3)
