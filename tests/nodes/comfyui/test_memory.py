"""Memory that runs out is said. ComfyUI's own nodes would go on in tiles, which are approximate, and nobody asked."""

import re
import shutil

import pytest
from support.comfyui_graphs import graph
from support.comfyui_server import failure

RUN = r"{}ing 1 x {} with '.*' ran out of memory.*: use a smaller image or batch, or bf16\."
HOST = r"ComfyUI ran out of memory around this VAE and would {}e in blended tiles, which are approximate: "


@pytest.mark.parametrize("half", ["Encod", "Decod"])
@pytest.mark.parametrize(
    ("node", "where", "words"),
    [("VAE", "run", RUN), ("VAE", "host", HOST), ("ExactVAE", "run", RUN)],
    ids=["core", "core itself", "ours"],
)
def test_no_tiles_behind_the_user_s_back(server, node, half, where, words):
    vaes = server.base / "models" / "vae"
    name = f"without_memory_{node}{half}{where}.safetensors"  # of its own: the host keeps the VAE, which is changed
    shutil.copy(vaes / "sd.safetensors", vaes / name)
    given = {"pixels": ["3", 0]} if half == "Encod" else {"samples": ["4", 0]}
    entry = server.prompt(graph(
        ("ExactVAELoader", {"vae_name": name}),
        ("TestNoMemory", {"vae": ["1", 0], "where": where}),
        ("LoadImage", {"image": "even.png"}),
        ("ExactLatentNoise", {"seed": 5, "width": 64, "height": 64, "batch_size": 1, "strength": 1.0, "vae": ["1", 0]}),
        (f"{node}{half}e", {**given, "vae": ["2", 0]}),
        ("TestWrite", {"anything": ["5", 0], "name": "never.pt"}),
    ))  # fmt: skip
    assert re.search(words.format(half.lower(), "72x56" if half == "Encod" else "8x8"), failure(entry))
