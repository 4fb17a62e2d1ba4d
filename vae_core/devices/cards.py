"""What devices compute well in half precision, and so which dtype a VAE runs in there if nobody asks for one."""

import re
from typing import NamedTuple

import torch

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32


class Card(NamedTuple):
    """What a device says of itself.

    kind        torch's word for it: 'cuda', 'xpu', 'mps' ...; 'hip' for AMD's, which torch calls cuda
    name        'NVIDIA GeForce RTX 2080 Ti'; of AMD's the architecture, 'gfx1100'
    capability  CUDA's compute capability, (7, 5)
    has_bf16    does the chip compute bf16 itself? Intel's say so
    """

    kind: str
    name: str = ""
    capability: tuple[int, int] = (0, 0)
    has_bf16: bool = False


class Rule(NamedTuple):
    """Which dtype some cards get, and why. The first rule that a card meets is its own.

    kind      of the card; '' for every kind
    which     of these cards, for people
    dtype     fp16 is for families that fit into it, which say so; the others get fp32 there
    why       in words that end a sentence
    pattern   that is found in the card's name
    least     its compute capability at least
    has_bf16  must it say that it has bf16?
    """

    kind: str
    which: str
    dtype: torch.dtype
    why: str
    pattern: str = ""
    least: tuple[int, int] = (0, 0)
    has_bf16: bool = False

    def fits(self, card: Card) -> bool:
        return (
            self.kind in ("", card.kind)
            and bool(re.search(self.pattern, card.name))
            and card.capability >= self.least
            and card.has_bf16 >= self.has_bf16
        )


# Chips of Turing without tensor cores, TU116 and TU117, as NVIDIA sells them.
SMALL_TURING = r"GTX 16\d\d|\bMX[45]50|\bT(4|5|6)\d\dM?\b|\bT1000|\bT1200|\bT2000|CMP 30HX"

# AMD's architectures with instructions for bf16: CDNA, which has matrix cores, and RDNA from its third generation on.
# https://rocm.docs.amd.com/en/latest/reference/precision-support.html
AMD_WITH_BF16 = r"gfx(908|90a|94\d|95\d|11\d\d|12\d\d)"

RULES = (
    Rule("cuda", "NVIDIA from Ampere on (compute capability 8.0)", BF16, "its tensor cores compute bf16", least=(8, 0)),
    Rule(
        "cuda",
        "GTX 16xx and their kin (TU116, TU117)",
        FP32,
        "fp16 gives NaN on such cards (pytorch #58123), and bf16 is emulated",
        pattern=SMALL_TURING,
    ),
    Rule(
        "cuda",
        "NVIDIA Volta and Turing (7.0, 7.5)",
        FP16,
        "its tensor cores compute fp16, and bf16 is emulated",
        least=(7, 0),
    ),
    Rule("cuda", "older NVIDIA", FP32, "it computes no half precision faster than fp32"),
    Rule("hip", "AMD MI100 and later, RX 7000 and later", BF16, "the chip computes bf16", pattern=AMD_WITH_BF16),
    Rule("hip", "other AMD", FP32, "the chip has no bf16, though torch says so of every AMD card"),
    Rule("xpu", "Intel that has bf16", BF16, "the chip computes bf16", has_bf16=True),
    Rule("mps", "Apple", FP32, "bf16 has given NaN there (Qwen-Image), and fp16 black images (InvokeAI #7208)"),
    Rule("", "every other", FP32, "half precision has not been measured to be right there"),
)

NOT_IN_FP16 = "this card has fp16 only, and no one has shown that this VAE fits into it"


def choose_for_card(card: Card, fits_fp16: bool) -> tuple[torch.dtype, str]:
    """The dtype in which this card computes a VAE fast and right, and why. fits_fp16: does the VAE fit into fp16?"""
    rule = next(rule for rule in RULES if rule.fits(card))
    if rule.dtype is FP16 and not fits_fp16:
        return FP32, NOT_IN_FP16
    return rule.dtype, rule.why


def read_card(device: torch.device) -> Card:
    """What this device says of itself, to torch."""
    if device.type == "cuda" and torch.version.hip:
        return Card("hip", torch.cuda.get_device_properties(device).gcnArchName)
    if device.type == "cuda":
        return Card("cuda", torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device))
    if device.type == "xpu":
        properties = torch.xpu.get_device_properties(device)
        says_bf16 = getattr(properties, "has_bfloat16_conversions", False)  # torch 2.5 does not know
        return Card("xpu", properties.name, has_bf16=says_bf16)
    return Card(device.type)


def has_float64(device: torch.device) -> bool:
    """Can this device compute in float64? Apple's GPUs cannot, nor can some of Intel's, as Arc A."""
    if device.type == "xpu":
        return bool(getattr(torch.xpu.get_device_properties(device), "has_fp64", True))
    return device.type != "mps"


def to_float64(x: torch.Tensor) -> torch.Tensor:
    """The same numbers in float64: where they are, or on the CPU if their device has no float64."""
    return x.double() if has_float64(x.device) else x.cpu().double()
