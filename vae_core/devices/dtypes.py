"""Which dtype a VAE runs in, and why.

CPU       the file's own dtype, if the processor has it; otherwise fp32. Never fp16, which would be widened to fp32.
the rest  by the card (cards.py), whatever the file's own dtype is, but for fp64, which stays if the device has it.

docs/precision.md has the table.
"""

from typing import NamedTuple

import torch

from ..errors import BadRequest


class Choice(NamedTuple):
    """A dtype, and why it was chosen, in words that end a sentence."""

    dtype: torch.dtype
    why: str


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}


def parse_dtype(name: str) -> torch.dtype | None:
    """'fp32', 'bf16', 'fp16', 'fp64' -> torch dtype; 'auto' -> None. Raises BadRequest for any other word."""
    if name == "auto":
        return None
    if name not in DTYPES:
        raise BadRequest(f"there is no dtype '{name}': choose auto, {', '.join(DTYPES)}.")
    return DTYPES[name]


def is_name_of_dtype(said: object) -> bool:
    """'fp16', 'float16', 'torch.float16': what people write in the place of a dtype, or of a device."""
    word = said.removeprefix("torch.") if isinstance(said, str) else ""
    return word in DTYPES or isinstance(getattr(torch, word, None), torch.dtype)


def name_dtype(dtype: torch.dtype) -> str:
    """'bf16' of torch.bfloat16; 'float8_e5m2' of a dtype that nobody can ask for."""
    return next((name for name, one in DTYPES.items() if one is dtype), str(dtype).removeprefix("torch."))


def demand_dtype(dtype: object) -> torch.dtype:
    """The dtype, if convolutions compute in it. Raises BadRequest otherwise, as for 'fp16', which is text."""
    if not isinstance(dtype, torch.dtype) or dtype not in DTYPES.values():
        raise BadRequest(f"a VAE cannot run in {dtype!r}: choose a floating-point dtype, as torch.bfloat16.")
    return dtype


def demand_device(device: torch.device | str | int) -> torch.device:
    """The device, if a tensor can be made on it. Raises BadRequest otherwise."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found).cpu()  # which the meta device, having no numbers, refuses
    except (RuntimeError, AssertionError, ImportError, AttributeError, TypeError) as e:
        raise BadRequest(f"the device '{device}' cannot be used: {_explain_refusal(e)}.") from e
    return found


def _explain_refusal(error: Exception) -> str:
    """torch's first line; of kinds of devices that it knows by name only, it says nothing for people."""
    said = next(iter(str(error).splitlines()), "")
    if said.startswith(("Expected one of", "Invalid device string")):  # and every kind that torch has a name for
        return "there is no such device: give auto, cpu, cuda, cuda:1, mps or xpu"
    foreign = isinstance(error, ImportError) or "INTERNAL ASSERT" in said or said.startswith("Could not run")
    return "this torch has no such device" if foreign else said.rstrip(".!")


def choose_dtype(
    device: torch.device, own: torch.dtype, asked: torch.dtype | None = None, *, fits_fp16: bool = False
) -> torch.dtype:
    """The dtype to run in on this device. Arguments and errors are those of `explain_dtype`."""
    return explain_dtype(device, own, asked, fits_fp16=fits_fp16).dtype


def explain_dtype(
    device: torch.device, own: torch.dtype, asked: torch.dtype | None = None, *, fits_fp16: bool = False
) -> Choice:
    """The dtype to run in on this device, for weights that are stored as `own`; and why, in words that end a sentence.

    fits_fp16: does the VAE fit into fp16, so that a card without another half precision may run it so unasked?
    What is asked for is done, but for fp16 on a CPU, where fp32 is as fast and has more digits.
    Raises BadRequest for a dtype that convolutions do not compute in.
    """
    asked = None if asked is None else demand_dtype(asked)
    if device.type == "cpu":
        return _choose_on_cpu(asked or own, asked is not None)
    if asked is not None:
        return Choice(asked, "asked for")
    from .cards import choose_for_card, has_float64, read_card  # read where there is a card

    if own is torch.float64 and has_float64(device):
        return Choice(own, "its own")

    return Choice(*choose_for_card(read_card(device), fits_fp16))


def _choose_on_cpu(wanted: torch.dtype, asked: bool) -> Choice:
    from . import processor  # read where a VAE runs on one

    slow = wanted is torch.float16 or (wanted is torch.bfloat16 and not asked and not processor.has_bf16())
    if slow or wanted.itemsize < 2:
        return Choice(torch.float32, f"this processor has no fast {name_dtype(wanted)}")
    how = ", computed in fp32" if processor.is_faster_in_fp32(wanted) else ""
    return Choice(wanted, ("asked for" if asked else "its own") + how)


def at_least_fp32(dtype: torch.dtype) -> torch.dtype:
    """float32, or the dtype itself if it is wider: for what must not lose digits, as statistics, latents, results."""
    if dtype.is_floating_point:  # a plan asks thousands of times, with somebody watching what torch is asked
        return dtype if dtype.itemsize > torch.float32.itemsize else torch.float32
    return torch.promote_types(dtype, torch.float32)
