"""Files of weights that are no VAE of images or clips: told for what they are, and where they belong.

Marks are names that only such files have, found anywhere in a name. The first row that fits answers, so those that
hold the parts of another come first.
"""

import re
from functools import cache
from typing import NamedTuple

from .shapes import Named, Shapes, text_of


class Other(NamedTuple):
    """Files of another kind.

    what    they are: 'the VAE of sound of ACE-Step'
    to_do   with them, a sentence's second half
    names   regular expressions, each of which some name of the file fits
    ranks   if any: the dimensions that weights may have, all of them
    first_conv, channels   if any: a regular expression for the first convolution, and how many channels that reads
    """

    what: str
    to_do: str
    names: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()
    first_conv: str = ""
    channels: int = 0

    @property
    def is_vae(self) -> bool:
        """Is it a VAE, though none of images that one could find under a prefix?"""
        return self.to_do in (SOUND, SHAPES_3D, TWO_VAES)

    @property
    def sentence(self) -> str:
        return f"{self.what}: {self.to_do}."

    def fits(self, shapes: Shapes) -> bool:
        names = text_of(shapes)
        if not all(_over_lines(name).search(names) for name in self.names):
            return False
        if self.ranks and not {len(shape) for shape in shapes.values()} <= set(self.ranks):
            return False
        return not self.first_conv or any(self._is_first(name, shape) for name, shape in shapes.items())

    def _is_first(self, name: str, shape: tuple[int, ...]) -> bool:
        return len(shape) == 4 and shape[1] == self.channels and bool(re.search(self.first_conv, name))


@cache
def _over_lines(pattern: str) -> re.Pattern[str]:
    """For `text_of`, where a name begins and ends with a line's end: most patterns are then tried there alone."""
    return re.compile(pattern.replace(r"(^|\.)", "[\n.]").replace("^", "\n").replace("$", "\n"))


SOUND = "it makes sound, no images; nodes for audio load it"
SHAPES_3D = "it makes shapes in space, no images; nodes for 3-D load it"
TWO_VAES = "it is a VAE of images and one of their latents over time, which are not run together here"
AS_MODEL = "put it into models/diffusion_models; its VAE is another file"

OTHERS: tuple[Other, ...] = (
    Other("a latent", "`exact-vae decode` makes an image of it, and the node Load Latent reads it",
          names=(r"^(latent|latent_tensor|latents|latents_\d+x\S*)$",), ranks=(0, 1, 3, 4, 5)),
    Other("a LoRA", "put it into models/loras; the VAE is that of the model it was trained for",
          names=(r"[._](lora_(up|down|A|B|a|b)(\.|$)|lora_linear_layer\.|hada_w\d|lokr_w\d|dora_scale$)",)),
    Other("a ControlNet", "put it into models/controlnet",
          names=(r"^(control_model\.)?(zero_convs|input_hint_block|controlnet_cond_embedding|controlnet_blocks)\.",)),
    Other("an upscaler of images", "put it into models/upscale_models; the node Load Upscale Model takes it",
          names=(r"^(model\.1\.sub\.0\.RDB1|body\.0\.rdb1|RRDB_trunk\.0\.RDB1|layers\.0\.residual_group)\.",)),
    Other("the statistics of RAE's latents", "load them together with RAE's decoder", names=(r"^mean$", r"^var$")),
    Other("LTX's upscaler of latents", "put it into models/latent_upscale_models",
          names=(r"^initial_conv\.weight$", r"^upsampler\.")),
    Other("the VAE of sound of ACE-Step", SOUND, names=(r"^vocoder\.backbone\.channel_layers\.0\.0\.bias$",)),
    Other("the VAE of sound of ACE-Step (its mel spectrograms)", SOUND,
          names=(r"(^|\.)encoder\.(stages|down_blocks)\.",),
          first_conv=r"(^|\.)encoder\.(conv_in|project_in)(\.conv)?\.weight$", channels=2),
    Other("the VAE of sound of LTX-2", SOUND, names=(r"^(audio_vae\.)?(vocoder\.)+resblocks\.0\.convs1\.0\.weight$",)),
    Other("the VAE of sound of MMAudio", SOUND, names=(r"^(vocoder\.activation_post\.|mel_converter\.mel_basis$)",)),
    Other("the VAE of sound of MiniMax-H3", SOUND, names=(r"^pre_block\.attn\.zero_k_bias$",)),
    Other("the VAE of sound of MiniMax Music", SOUND, names=(r"^dec_in_proj\.weight$",)),
    Other("the VAE of sound of Stable Audio or ACE-Step 1.5 (Oobleck)", SOUND,
          names=(r"^decoder\.layers\.1\.layers\.0\.beta$|^decoder\.block\.0\.snake1\.beta$",)),
    Other("the VAE of sound of Stable Audio 3", SOUND,
          names=(r"^decoder\.layers\.3\.transformers\.0\.pre_norm\.alpha$|^encoder\.blocks\.0\.new_tokens$",)),
    Other("the VAE of sound of LongCat-Audio", SOUND, names=(r"^encoder\.layers\.1\.layers\.0\.layers\.0\.alpha$",)),
    Other("the VAE of shapes of Hunyuan3D", SHAPES_3D, names=(r"^geo_decoder\.cross_attn_decoder\.",)),
    Other("the VAE of shapes of Trellis 2", SHAPES_3D, names=(r"^(shape_dec|txt_dec)\.blocks\.\d+\.\d+\.",)),
    Other("the VAE of shapes of TripoSplat", SHAPES_3D, names=(r"^gs\.base_offset_scale$",)),
    Other("the VAE of Open-Sora 1.2", TWO_VAES, names=(r"^spatial_vae\.", r"^temporal_vae\.")),
    Other("a text encoder (CLIP)", "put it into models/text_encoders",
          names=(r"^(text_model\.)?(transformer\.)?(text_model\.)?encoder\.layers\.0\.self_attn\.q_proj\.weight$",
                 r"embeddings\.token_embedding\.weight$")),
    Other("a text encoder (T5)", "put it into models/text_encoders",
          names=(r"^encoder\.block\.0\.layer\.0\.SelfAttention\.q\.weight$",)),
    Other("a language model", "put it into models/text_encoders if a diffusion model reads text with it",
          names=(r"^(model\.)?(language_model\.)?(model\.)?layers\.0\.self_attn\.q_proj\.weight$",
                 r"^(model\.)?(language_model\.)?(model\.)?embed_tokens\.weight$")),
    Other("a vision encoder (DINOv2 or MAE)", "put it into models/clip_vision, or load it together with RAE's decoder",
          names=(r"^(vit\.)?embeddings\.patch_embeddings\.projection\.weight$",)),
    Other("a vision encoder (CLIP)", "put it into models/clip_vision",
          names=(r"^vision_model\.encoder\.layers\.0\.self_attn\.q_proj\.weight$",)),
    Other("a diffusion model", AS_MODEL,
          names=(r"^(model\.diffusion_model\.)?(double_blocks\.0\.img_attn|joint_blocks\.0\.x_block|input_blocks\.0\.0"
                 r"|down_blocks\.0\.attentions\.0|transformer_blocks\.0\.(attn|norm1)|blocks\.0\.self_attn\.q"
                 r"|single_transformer_blocks\.0)\.",)),
    Other("a network of sound or of shapes in space", "it has no convolutions over images, so it is no VAE of images",
          names=(r"^(encoder|decoder|vae|bottleneck|pretransform)\.",), ranks=(0, 1, 2, 3)),
)  # fmt: skip


def recognise_other(shapes: Shapes, vaes: bool = False) -> Other | None:
    """The row that a file with these names and shapes fits. vaes: of VAEs only, though none of images."""
    shapes = shapes if isinstance(shapes, Named) else Named(shapes)
    return next((row for row in OTHERS if (row.is_vae or not vaes) and row.fits(shapes)), None)
