"""Every core node with a VAE input gives with our VAE what it gives with core's; or it is said why it is not run."""

import pytest
import torch
from support.comfyui_graphs import from_header, graph, small_wan
from support.comfyui_server import failure

TINY, WAN = "tiny.safetensors", "wan.safetensors"
WAN22, HUNYUAN15 = "tiny_wan22.safetensors", "tiny_hunyuan15.safetensors"
PIXELS = "pixel_space"  # for nodes that enlarge images to a million pixels
SMALL = {"width": 64, "height": 64, "length": 5, "video_frames": 5, "batch_size": 1}

# With which VAE, and with what beside the defaults of its inputs.
RUN: dict[str, tuple[str, dict]] = {
    "VAEEncode": (TINY, {}),
    "VAEEncodeTiled": (TINY, {"tile_size": 64, "overlap": 0}),
    "VAEDecode": (TINY, {}),
    "VAEDecodeTiled": (TINY, {"tile_size": 64, "overlap": 32}),
    "VAEEncodeForInpaint": (TINY, {}),
    "InpaintModelConditioning": (TINY, {}),
    "InstructPixToPixConditioning": (TINY, {}),
    "StableCascade_StageC_VAEEncode": (TINY, {}),
    "StableCascade_SuperResolutionControlnet": (TINY, {}),
    "StableZero123_Conditioning": (TINY, {}),
    "StableZero123_Conditioning_Batched": (TINY, {}),
    "SVD_img2vid_Conditioning": (TINY, {}),
    "SV3D_Conditioning": (TINY, {}),
    "MakeTrainingDataset": (TINY, {}),
    "TextEncodeQwenImageEdit": (TINY, {}),
    "TextEncodeQwenImageEditPlus": (PIXELS, {}),
    "TextEncodeZImageOmni": (PIXELS, {}),
    "TextEncodeBooguEdit": (PIXELS, {}),
    "TextEncodeJoyImageEdit": (PIXELS, {}),
    "TextEncodeMageFlowEdit": (PIXELS, {}),
    "BerniniConditioning": (WAN, {}),
    "CosmosImageToVideoLatent": (WAN, {}),
    "CosmosPredict2ImageToVideoLatent": (WAN, {}),
    "HunyuanImageToVideo": (WAN, {}),
    "HunyuanVideo15ImageToVideo": (HUNYUAN15, {}),
    "HunyuanVideo15SuperResolution": (HUNYUAN15, {}),
    "Kandinsky5ImageToVideo": (WAN, {}),
    "VOIDInpaintConditioning": (WAN, {}),
    "Wan22FunControlToVideo": (WAN, {}),
    "Wan22ImageToVideoLatent": (WAN22, {}),
    "WanAnimate2ToVideo": (WAN, {}),
    "WanAnimateToVideo": (WAN, {}),
    "WanCameraImageToVideo": (WAN, {}),
    "WanDancerVideo": (WAN, {}),
    "WanFirstLastFrameToVideo": (WAN, {}),
    "WanFunControlToVideo": (WAN, {}),
    "WanFunInpaintToVideo": (WAN, {}),
    "WanHuMoImageToVideo": (WAN, {}),
    "WanImageToVideo": (WAN, {}),
    "WanMoveTrackToVideo": (WAN, {}),
    "WanPhantomSubjectToVideo": (WAN, {}),
    "WanSCAILToVideo": (WAN, {}),
    "WanSoundImageToVideo": (WAN, {}),
    "WanSoundImageToVideoExtend": (WAN, {}),
    "WanTrackToVideo": (WAN, {}),
    "WanVaceToVideo": (WAN, {}),
}

ELSEWHERE = {
    "CheckpointSave": "test_models.py",
    "SelectVAEDevice": "test_round_trips.py",
    "VAESave": "test_files.py",
}  # fmt: skip

SOUND, SHAPES = "its VAE is one of sound", "its VAE is one of shapes in space"
LTX = "needs a VAE of LTX-Video; of its tiny one core believes it has another ratio"
PATCH, CONTROL = "needs a model and a patch of it", "needs a control net, which encodes only while a sampler runs"
NOT_RUN = {
    "ARVideoI2V": "needs a model of video",
    "ControlNetApplyAdvanced": CONTROL,
    "ControlNetApplySD3": CONTROL,
    "ControlNetInpaintingAliMamaApply": CONTROL,
    "ImageOnlyCheckpointSave": "needs a model of video",
    "LTXVAddGuide": LTX,
    "LTXVAudioVAEDecode": SOUND,
    "LTXVAudioVAEEncode": SOUND,
    "LTXVEmptyLatentAudio": SOUND,
    "LTXVImgToVideo": LTX,
    "LTXVImgToVideoInplace": LTX,
    "LTXVLatentUpsampler": "needs a model that enlarges latents",
    "LTXVReferenceAudio": SOUND,
    "MiniMaxH3AddGuide": "works on a latent of images and sound in one",
    "MiniMaxH3ImageToVideo": "needs its text encoder, which is shown the images",
    "MiniMaxH3ReferenceToVideo": SOUND,
    "QwenImageDiffsynthControlnet": PATCH,
    "SDPoseKeypointExtractor": "needs a model of poses",
    "SUPIRApply": PATCH,
    "Trellis2UpsampleStage": SHAPES,
    "TripoSplatConditioning": SHAPES,
    "TripoSplatSamplingPreview": SHAPES,
    "VAEDecodeAudio": SOUND,
    "VAEDecodeAudioTiled": SOUND,
    "VAEDecodeHunyuan3D": SHAPES,
    "VAEDecodeTripoSplat": SHAPES,
    "VAEEncodeAudio": SOUND,
    "VaeDecodeShapeTrellis": SHAPES,
    "VaeDecodeStructureTrellis2": SHAPES,
    "VaeDecodeTextureTrellis": SHAPES,
    "WanInfiniteTalkToVideo": PATCH,
    "WanUni3CControlnetApply": PATCH,
    "ZImageFunControlnet": PATCH,
}


@pytest.fixture(scope="module")
def nodes(server):
    """What the host says of its nodes; and the VAEs they are run with are there."""
    small_wan(server, WAN)
    from_header(server, TINY, "taesd.comfy")
    from_header(server, WAN22, "taew2_2.original")
    from_header(server, HUNYUAN15, "taehv1_5.original")
    return server.get("/object_info")


def takes(info: dict, kind: str) -> list[str]:
    inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    return [name for name, spec in inputs.items() if isinstance(spec[0], str) and kind in spec[0].split(",")]


def test_every_core_node_with_a_vae_is_run_or_it_is_said_why_not(nodes):
    ours = {name for name, info in nodes.items() if info["python_module"].startswith("custom_nodes.")}
    found = {name for name, info in nodes.items() if takes(info, "VAE")} - ours
    assert found == set(RUN) | set(ELSEWHERE) | set(NOT_RUN)
    assert len(found) == len(RUN) + len(ELSEWHERE) + len(NOT_RUN)


def whole(nodes: dict, name: str, loader: str, file: str, changes: dict) -> tuple[dict, list[int]]:
    """A graph of this node with all that it can be given, and the numbers of its outputs that are written down."""
    frames = 5 if file == WAN and "Cosmos" not in name else 1
    sources = [
        ("LoadImage", {"image": "even.png"}),
        ("RepeatImageBatch", {"image": ["1", 0], "amount": frames}),
        (loader, {"vae_name": file}),
        ("SolidMask", {"value": 1.0, "width": 64, "height": 64}),
        ("TestConditioning", {"width": 8, "pooled": 8, "seed": 1}),
        ("TestClip", {}),
        ("TestClipVision", {}),
        ("VAELoader", {"vae_name": file}),
        (
            "ImageScale",
            {"image": ["2", 0], "upscale_method": "bilinear", "width": 64, "height": 64, "crop": "disabled"},
        ),
        ("VAEEncode", {"pixels": ["9", 0], "vae": ["8", 0]}),
    ]
    links = {"IMAGE": ["2", 0], "VAE": ["3", 0], "MASK": ["4", 0], "CONDITIONING": ["5", 0], "CLIP": ["6", 0],
             "CLIP_VISION": ["7", 0], "LATENT": ["10", 0]}  # fmt: skip
    info = nodes[name]
    inputs = {}
    for part in ("required", "optional"):
        for key, (kind, *options) in info["input"].get(part, {}).items():
            found = links.get(kind) if isinstance(kind, str) else kind[0]
            if kind == "COMFY_AUTOGROW_V3":
                template = options[0]["template"]
                first = template["names"][0] if "names" in template else f"{template['prefix']}0"
                inputs[f"{key}.{first}"] = links["IMAGE"]
            elif found is not None:
                inputs[key] = found
            elif part == "required":
                given = options[0] if options else {}
                inputs[key] = SMALL.get(key, given.get("default", (given.get("options") or [None])[0]))
    kinds = [i for i, kind in enumerate(info["output"]) if kind in ("LATENT", "CONDITIONING", "IMAGE", "MASK")]
    node = str(len(sources) + 1)
    write = [("TestWrite", {"anything": [node, i], "name": f"{name}{i}{loader}.pt"}) for i in kinds]
    return graph(*sources, (name, {**inputs, **changes}), *write), kinds


def tensors(thing) -> list[torch.Tensor]:
    if isinstance(thing, torch.Tensor):
        return [thing]
    items = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list) else ()
    return [tensor for item in items for tensor in tensors(item)]


@pytest.mark.parametrize("name", RUN)
def test_our_vae_does_what_core_s_does(server, nodes, name):
    found = {}
    for loader in ("VAELoader", "ExactVAELoader"):
        whole_graph, kinds = whole(nodes, name, loader, *RUN[name])
        entry = server.prompt(whole_graph)
        assert entry["status"]["status_str"] == "success", failure(entry)
        files = [server.base / "output" / f"{name}{i}{loader}.pt" for i in kinds]
        found[loader] = tensors([torch.load(file, weights_only=True) for file in files])
    ours, core_s = found["ExactVAELoader"], found["VAELoader"]
    assert [t.shape for t in ours] == [t.shape for t in core_s] and ours
    for one, other in zip(ours, core_s, strict=True):
        if RUN[name][0] == HUNYUAN15:  # which core takes for LightX2V's network of the same shapes
            continue
        error, largest = (x.double().abs().max().item() for x in (one - other, other))
        assert error <= 1e-3 * (1 + largest)
    assert max(t.double().std().item() for t in core_s if t.numel() > 1) > 1e-3
