"""What nodes/host asks of ComfyUI, told to stand-ins of it; the real one is in comfyui/."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from exact_vae.nodes import host
from exact_vae.nodes.host import host_model, socket
from exact_vae.nodes.host.host_vae import TILED, WHOLE, ClipTiles, HostVAE
from exact_vae.vae_core import DoesNotFit, Half, RunOptions, from_weights, load
from exact_vae.vae_core.devices.cards import Card
from exact_vae.vae_core.execution.plans import choose as planning
from exact_vae.vae_core.execution.plans.plan import Plan
from exact_vae.vae_core.families.kl import FAMILY
from support.core_vae import CoreVAE
from support.random_networks import random_weights, small_kl

GIB = 2**30


@pytest.fixture
def comfyui(monkeypatch):
    """Stand-ins with a device of 8 GiB, 3 of them free, of which 1 is reserved."""
    memory = ModuleType("comfy.model_management")
    asked = []
    memory.get_total_memory = lambda device: 8 * GIB  # type: ignore[attr-defined]
    memory.get_free_memory = lambda device: 3 * GIB  # type: ignore[attr-defined]
    memory.extra_reserved_memory = lambda: GIB  # type: ignore[attr-defined]
    memory.load_models_gpu = lambda models, **how: asked.append(how)  # type: ignore[attr-defined]
    comfy = ModuleType("comfy")
    comfy.model_management = memory  # type: ignore[attr-defined]
    sent = []
    server = ModuleType("server")
    tell = SimpleNamespace(client_id="me", send_progress_text=lambda *what: sent.append(what))
    server.PromptServer = SimpleNamespace(instance=tell)  # type: ignore[attr-defined]
    running = ModuleType("comfy_execution.utils")
    running.get_executing_context = lambda: SimpleNamespace(node_id="7")  # type: ignore[attr-defined]
    names = {"folder_paths": ModuleType("folder_paths"), "comfy": comfy, "comfy.model_management": memory,
             "comfy.sd": ModuleType("comfy.sd"), "server": server, "comfy_execution.utils": running,
             "comfy_execution": ModuleType("comfy_execution")}  # fmt: skip
    monkeypatch.setattr(planning, "FreeElsewhere", lambda device: {"disk": 100 * GIB})
    for name, module in names.items():
        monkeypatch.setitem(sys.modules, name, module)
    return SimpleNamespace(asked=asked, sent=sent, server=tell, running=running)


def on_gpu(vae):
    """A VAE of ours on the socket of a host that has a GPU. Nothing is run on it."""
    patcher = SimpleNamespace(get_free_memory=lambda device: 3 * GIB, model_size=lambda: GIB // 4)
    return CoreVAE(
        first_stage_model=host.HostModel(vae), patcher=patcher, device=torch.device("cuda"), vae_dtype=torch.bfloat16
    )


@pytest.fixture(scope="module")
def sd():
    """SD's VAE in bf16."""
    weights = {n: t.bfloat16() for n, t in random_weights("kl", FAMILY.example).items()}
    return from_weights(weights, "sd", torch.bfloat16)


def asked_for(comfyui, vae, shape, **way) -> float:
    """GiB that the host is asked to make free."""
    assert host.from_socket(on_gpu(vae), Half.DECODER, shape, RunOptions(**way)) is vae
    return comfyui.asked.pop()["memory_required"] / GIB


def test_room_is_made_for_the_best_way_the_device_could_hold(comfyui, sd):
    small, large = (1, 4, 64, 64), (1, 4, 288, 288)
    assert asked_for(comfyui, sd, small) == sd.peak_bytes("decode", small) / GIB
    whole, best = sd.peak_bytes("decode", large) / GIB, asked_for(comfyui, sd, large)
    assert best < 6.2 < whole  # (8 - 1 reserved - 1/4 of weights) * 0.9
    assert asked_for(comfyui, sd, large, rows=64, keep="disk") < best / 3
    tiles = ClipTiles(512, 64)
    assert asked_for(comfyui, sd, large, tiles=tiles) == sd.peak_bytes("decode", (1, 4, 64, 64)) / GIB


def test_what_no_way_could_hold_is_refused_before_room_is_made(comfyui, sd):
    with pytest.raises(
        DoesNotFit, match=r"to decode 1 x 20000x20000 with 'sd' needs a tensor of .* but its device counts to"
    ):
        host.from_socket(on_gpu(sd), Half.DECODER, (1, 4, 20000, 20000))
    assert not comfyui.asked


def test_the_budget_is_what_the_host_counts_as_free_less_its_reserve(comfyui, sd):
    assert host.budget(on_gpu(sd)) == int((3 - 1) * GIB * 0.9)
    assert host.budget(sd) is None
    on_cpu = on_gpu(sd)
    on_cpu.device = torch.device("cpu")
    assert host.budget(on_cpu) is None


def test_core_s_nodes_run_our_vae_under_the_host_s_budget(comfyui, monkeypatch):
    vae = from_weights(random_weights("kl", small_kl()))
    given = []
    monkeypatch.setattr(type(vae), "device", torch.device("cuda"))
    monkeypatch.setattr(vae, "decode", lambda z, **how: given.append(how["budget"]))
    monkeypatch.setattr(host_model, "progress", lambda drawn, live=None: None)
    host.HostModel(vae).decode(torch.zeros(1, 4, 2, 2))
    assert given == [int((3 - 1) * GIB * 0.9)]


def test_a_plan_is_drawn_on_the_node_that_runs_for_the_one_who_asked(comfyui):
    shown = host.Shown()
    shown("whole; at most 1 MiB")
    assert comfyui.sent == [("whole;  \nat most 1 MiB", "7", "me")]  # a line each, in Markdown too
    assert shown.beside(1, 2) == {"ui": {"text": ["whole; at most 1 MiB"]}, "result": (1, 2)}
    plan = Plan(1, 16, "disk", (), 2**27, 2**32, 1.0, (3, 384, 8), strips=24)
    shown(plan)  # in words for who only wants it done
    assert shown.text == "exact, in 24 strips, up to 128 MiB and 4.0 GiB of disk"
    comfyui.server.client_id = None  # a graph that came over the API: nobody is looking
    shown("again")
    comfyui.running.get_executing_context = lambda: None
    shown("outside of a graph")
    assert len(comfyui.sent) == 2


def test_core_s_vae_is_rebuilt_once_a_run_and_keeps_what_was_found_out(comfyui, monkeypatch):
    built, build = [], socket.from_weights
    monkeypatch.setattr(socket, "from_weights", lambda *how: built.append(how) or build(*how))
    thing = on_gpu(from_weights(random_weights("kl", small_kl())))
    thing.first_stage_model, thing.device, thing.vae_dtype = thing.first_stage_model.network, torch.device("cpu"), None
    first = host.from_socket(thing, Half.DECODER, (1, 4, 2, 2))
    assert len(built) == 1
    mark = first.fingerprint
    again = host.from_socket(thing, Half.DECODER, (1, 4, 2, 2))
    assert again is not first and again.findings.fingerprint == mark


class Foreign:
    """As core's VAE of a family that this pack does not run: 1/16, 1/4 in time."""

    output_channels, latent_channels = 3, 16

    def __init__(self, frames=4):
        self.frames, self.calls = frames, []

    def spacial_compression_encode(self):
        return 16

    spacial_compression_decode = spacial_compression_encode

    def temporal_compression_decode(self):
        return self.frames

    def __getattr__(self, name):
        def method(x, **how):
            self.calls.append((name, how))
            return torch.full((1, 8, 8, 3), 0.75) if "decode" in name else torch.zeros(1, 16, 1, 1)

        return method


@pytest.mark.parametrize(("frames", "in_time"), [(4, {"tile_t": 16, "overlap_t": 2}), (None, {})])
def test_a_vae_this_pack_does_not_run_runs_as_its_host_runs_it(frames, in_time):
    thing, told = Foreign(frames), []
    codec, tiles = HostVAE(thing), ClipTiles(512, 64, 64, 8)
    pixels = codec.decode(torch.zeros(1, 16, 8, 8), size=(5, 5), rows=64, keep=None, budget=None, on_plan=told.append)
    assert pixels.shape == (1, 3, 5, 5) and (pixels == 0.5).all()
    codec.decode(torch.zeros(1, 16, 8, 8), tiles=tiles, on_plan=told.append)
    codec.decode(torch.zeros(1, 16, 8, 8), tiles=ClipTiles(64, 48))
    assert thing.calls.pop() == ("decode_tiled", {"tile_x": 4, "tile_y": 4, "overlap": 1, **in_time})
    codec.encode(pixels, rows=64)
    assert codec.encode(pixels, tiles=tiles, on_plan=told.append).mode().shape == (1, 16, 1, 1)
    assert told == [WHOLE, TILED, TILED]
    assert thing.calls == [
        ("decode", {}),
        ("decode_tiled", {"tile_x": 32, "tile_y": 32, "overlap": 4, **in_time}),
        ("encode", {}),
        ("encode_tiled", {"tile_x": 512, "tile_y": 512, "overlap": 64, "tile_t": 64, "overlap_t": 8}),
    ]


def test_memory_that_runs_out_is_said_in_our_words(monkeypatch):
    """Not in the host's, which would go on in tiles."""
    vae = from_weights(random_weights("kl", small_kl()), "small")

    def fail(*given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(vae.network.decoder.conv_out, "forward", fail)
    monkeypatch.setattr(host_model, "progress", lambda drawn, live=None: None)
    monkeypatch.setattr(host.HostModel, "_budget", lambda self: None)
    with pytest.raises(DoesNotFit, match=r"decoding 1 x 4x4 with 'small' ran out of memory at decoder\.conv_out: use"):
        host.HostModel(vae).decode(torch.zeros(1, 4, 4, 4))


BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
TURING, AMPERE = (Card("cuda", "NVIDIA GeForce RTX 20", (7, 5)), Card("cuda", "NVIDIA GeForce RTX 30", (8, 6)))
SMALL_TURING = Card("cuda", "NVIDIA GeForce GTX 1660", (7, 5))


@pytest.mark.parametrize("knows", [True, False])
def test_results_are_fp32_for_hosts_that_know_no_other(comfyui, knows):
    """ComfyUI 0.3.60 is such a host."""
    memory = sys.modules["comfy.model_management"]
    memory.intermediate_device = lambda: torch.device("cpu")  # type: ignore[attr-defined]
    if knows:
        memory.intermediate_dtype = lambda: torch.float16  # type: ignore[attr-defined]
    assert host.result(torch.ones(2, dtype=torch.bfloat16)).dtype is (torch.float16 if knows else torch.float32)


@pytest.mark.parametrize(("dimensions", "bars"), [(2, [True, False, True]), (3, [True, True, True])])
def test_the_host_s_bar_for_tiles_of_images_is_the_only_one(monkeypatch, sd, dimensions, bars):
    """Of clips it has none."""
    drawn = []
    monkeypatch.setattr(host_model, "progress", lambda draws, live=None: drawn.append(draws))
    thing = SimpleNamespace(first_stage_model=host.HostModel(sd), latent_dim=dimensions)
    monkeypatch.setattr(type(sd), "decode", lambda vae, z, **how: z)
    monkeypatch.setattr(host.HostModel, "_budget", lambda model: None)
    z = torch.zeros(1, 4, 2, 2)
    thing.first_stage_model.decode(z)
    with host_model.one_bar(thing):
        thing.first_stage_model.decode(z)
    thing.first_stage_model.decode(z)
    assert drawn == bars


@pytest.mark.parametrize(
    ("card", "takes", "wanted"),
    [
        pytest.param(TURING, {FP16, FP32}, FP16, id="Turing"),
        pytest.param(TURING, {FP32}, FP32, id="Turing, --fp32-vae"),
        pytest.param(SMALL_TURING, {FP16, FP32}, FP32, id="GTX 16"),
        pytest.param(AMPERE, {BF16, FP16, FP32}, BF16, id="Ampere"),
        pytest.param(AMPERE, {FP16}, FP16, id="Ampere, --fp16-vae"),
        pytest.param(AMPERE, {FP32}, FP32, id="Ampere, --fp32-vae"),
    ],
)
def test_a_card_that_has_fp16_only_gets_it(comfyui, monkeypatch, card, takes, wanted):
    """takes: what the host would, by its flags and its own table; the first that it is offered, or its flag's."""

    def vae_dtype(device, offered):
        return next((dtype for dtype in offered if dtype in takes), next(iter(takes)))

    monkeypatch.setattr(sys.modules["comfy.model_management"], "vae_dtype", vae_dtype, raising=False)
    monkeypatch.setattr("exact_vae.vae_core.devices.cards.read_card", lambda device: card)
    cuda = torch.device("cuda")
    vae = socket.load_for_host(lambda dtype, device: load(dtype=dtype, device=device), None, cuda)
    assert vae.dtype is wanted and vae.device.type == "cpu"
    asked = socket.load_for_host(lambda dtype, device: load(dtype=dtype, device=device), FP16, cuda)
    assert asked.dtype is FP16


@pytest.mark.parametrize("unwanted", [False, True])
def test_the_graph_is_written_into_files_unless_the_user_forbids_it(comfyui, monkeypatch, unwanted):
    args = SimpleNamespace(disable_metadata=unwanted)
    monkeypatch.setitem(sys.modules, "comfy.cli_args", SimpleNamespace(args=args))
    assert host.list_graph_texts({"1": {}}, None) == ({} if unwanted else {"prompt": '{"1": {}}'})
