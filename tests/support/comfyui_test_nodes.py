"""Nodes that tests install in a real ComfyUI: stand-ins for large models, and nodes that report what they get."""

import os

import torch


class TestWrite:
    """Writes whatever is connected, tensors and what holds them, to a file of the output folder."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "write", "tests", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"anything": ("*",), "name": ("STRING", {"default": "it"})}}

    def write(self, anything, name):
        import folder_paths

        path = os.path.join(folder_paths.get_output_directory(), name)
        torch.save(_plain(anything), path + ".writing")
        os.replace(path + ".writing", path)
        return {"ui": {"written": [name]}}


def _plain(thing):
    if isinstance(thing, dict):
        return {str(k): _plain(v) for k, v in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [_plain(v) for v in thing]
    if isinstance(thing, torch.Tensor):
        return thing.detach().cpu().clone()
    return thing if isinstance(thing, (str, int, float, type(None))) else str(type(thing))


class TestConditioning:
    """What a text encoder would give: (1, tokens, width), and a vector if one is asked for."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        size = ("INT", {"default": 8, "max": 4096})
        return {"required": {"width": size, "pooled": size, "seed": size}}

    def make(self, width, pooled, seed):
        generator = torch.Generator().manual_seed(seed)
        words = torch.randn(1, 4, width, generator=generator)
        return ([[words, {"pooled_output": torch.randn(1, pooled, generator=generator)}]],)


class TestClip:
    """A text encoder to which all texts are one."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("CLIP",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        return (self,)

    def tokenize(self, text, **more):
        return text

    def encode_from_tokens_scheduled(self, tokens, **more):
        return TestConditioning().make(8, 8, 0)[0]


class TestClipVision:
    """An encoder of images that sees their mean."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("CLIP_VISION",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        return (self,)

    def encode_image(self, image, **more):
        from types import SimpleNamespace

        seen = image.mean((1, 2))
        return SimpleNamespace(
            image_embeds=seen, last_hidden_state=seen[:, None], penultimate_hidden_states=seen[:, None]
        )


class TestStrangeVAE:
    """Core's VAE object around a network that no pack has seen: cells of 8 pixels, and their mean colours."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("VAE",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        import comfy.sd
        from comfy import model_patcher

        vae = comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)})
        vae.first_stage_model = _Strange()
        vae.patcher = model_patcher.ModelPatcher(vae.first_stage_model, vae.device, torch.device("cpu"))
        vae.latent_channels, vae.downscale_ratio, vae.upscale_ratio, vae.size = 3, 8, 8, None
        vae.process_input = vae.process_output = lambda image: image
        return (vae,)


class _Strange(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(1))

    def encode(self, pixels):
        return torch.nn.functional.avg_pool2d(pixels, 8) * self.gain

    def decode(self, z):
        return torch.nn.functional.interpolate(z * self.gain, scale_factor=8)


class TestNoMemory:
    """A VAE of this pack for which memory runs out: in each of its runs, or when the host itself wants some."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("VAE",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"vae": ("VAE",), "where": (["run", "host"],)}}

    def make(self, vae, where):
        def fail(*given, **options):
            if not given[0].is_meta:  # to plan takes none
                raise torch.OutOfMemoryError("CUDA out of memory")
            return given[0]

        if where == "host":
            vae.first_stage_model.encode = vae.first_stage_model.decode = fail
        else:
            network = vae.first_stage_model.vae.network
            network.encoder.conv_in.forward = network.decoder.conv_in.forward = fail
            network.encoder.conv_in.apply_unpadded = network.decoder.conv_in.apply_unpadded = fail
        return (vae,)


class TestReport:
    """What the host holds in memory, as a text."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE, NOT_IDEMPOTENT = (), "tell", "tests", True, True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"of": ("INT", {"default": 0, "max": 2**31})}}

    def tell(self, of):
        import gc

        import psutil

        gc.collect()
        tensors = {}
        for thing in gc.get_objects():
            if type(thing) in (torch.Tensor, torch.nn.Parameter) and thing.device.type == "cpu":
                storage = thing.untyped_storage()
                tensors[storage.data_ptr()] = storage.nbytes()
        held = {"tensors": sum(tensors.values()), "resident": psutil.Process().memory_info().rss}
        return {"ui": {"bytes": [held]}}


NODES = (TestWrite, TestConditioning, TestClip, TestClipVision, TestStrangeVAE, TestNoMemory, TestReport)
NODE_CLASS_MAPPINGS = {one.__name__: one for one in NODES}
