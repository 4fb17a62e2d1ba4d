"""What ComfyUI's own flags say about VAEs is true of ours: each with a server of its own."""

import pytest
from exact_vae.vae_core.checkpoints import built_in
from support.comfyui_graphs import graph
from support.comfyui_server import Server

AUTO = {("--fp16-vae",): "fp32", ("--bf16-vae", "--cpu-vae"): "bf16", ("--fp32-vae",): "fp32"}


@pytest.mark.parametrize("flags", AUTO, ids=" ".join)
def test_a_flag_decides_what_our_vae_runs_in(comfyui, tmp_path, flags):
    """Unless the loader is told otherwise; and never in fp16 on a CPU, which has no fast kernels for it."""
    server = Server(comfyui, tmp_path, *flags)
    try:
        server.wait()
        nodes = graph(
            ("ExactVAELoader", {"vae_name": built_in.NAME}),
            ("ExactVAELoader", {"vae_name": built_in.NAME, "dtype": "fp32"}),
            ("ExactExampleImage", {"image": "cat", "width": 32, "height": 24}),
            ("VAEEncode", {"pixels": ["3", 0], "vae": ["1", 0]}),
            ("ExactVAEDecode", {"samples": ["4", 0], "vae": ["1", 0]}),
            ("PreviewImage", {"images": ["5", 0]}),
            ("PreviewAny", {"source": ["2", 0]}),
        )
        entry = server.prompt(nodes)
        shown = [entry["outputs"][node]["text"][0] for node in ("1", "2")]
        assert len(server.images(entry)) == 1
    finally:
        server.stop()
    assert shown[0].endswith(f", {AUTO[flags]} on cpu") and shown[1].endswith(", fp32 on cpu")
