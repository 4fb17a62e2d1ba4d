"""The rows of blocks that LTX-Video's encoders and decoders are, and how they are read from shapes."""

from dataclasses import dataclass

from ..shapes import Shapes, count, size, vote


@dataclass(frozen=True)
class Blocks:
    """So many residual blocks of one width. noisy: see ResBlock"""

    width: int
    count: int
    noisy: bool = False


@dataclass(frozen=True)
class Widening:
    """One residual block to another width."""

    width: int


@dataclass(frozen=True)
class Change:
    """A change of resolution, to `width` channels. strided: by a convolution that moves on by two; else by trading."""

    width: int
    in_space: bool
    in_time: bool
    strided: bool = False

    @property
    def traded(self) -> int:
        """Pixels and frames for each one."""
        return (4 if self.in_space else 1) * (2 if self.in_time else 1)


Row = tuple[Blocks | Widening | Change, ...]  # the blocks of a half, in the order they run


def sizes(shapes: Shapes, conv: str) -> list[int | None]:
    """How many channels a convolution makes, by each of its tensors."""
    return [size(shapes, f"{conv}.weight"), size(shapes, f"{conv}.bias")]


def read_row(shapes: Shapes, prefix: str) -> Row | None:
    """The blocks of a half; None if it is not there, or of another kind."""
    places = [f"{prefix}{i}." for i in range(count(shapes, prefix))]
    row: list[Blocks | Widening | Change] = []
    for place, after in zip(places, [*places[1:], ""], strict=False):
        held = [name.removeprefix(place) for name in shapes if name.startswith(place)]
        width = row[-1].width if row else None
        block = _read_blocks(shapes, place, held) or _read_widening(shapes, place, held)
        if block is None and width:
            block = _read_change(shapes, place, held, width, after)
        if block is None:
            return None
        row.append(block)
    return tuple(row) if row and isinstance(row[0], Blocks) and not isinstance(row[-1], Change) else None


def _read_blocks(shapes: Shapes, place: str, held: list[str]) -> Blocks | None:
    blocks = count(shapes, f"{place}res_blocks.")
    width = _width(shapes, place) if blocks else None
    return Blocks(width, blocks, any("per_channel_scale" in name for name in held)) if width else None


def _width(shapes: Shapes, place: str) -> int | None:
    """Of residual blocks."""
    blocks = (f"{place}res_blocks.{i}." for i in range(count(shapes, f"{place}res_blocks.")))
    return vote(n for block in blocks for conv in ("conv1.conv", "conv2.conv") for n in sizes(shapes, block + conv))


def _read_widening(shapes: Shapes, place: str, held: list[str]) -> Widening | None:
    if not any(name.startswith("conv1.") for name in held):
        return None
    width = vote(n for conv in ("conv1.conv", "conv2.conv", "conv_shortcut") for n in sizes(shapes, place + conv))
    return Widening(width) if width else None


def _read_change(shapes: Shapes, place: str, held: list[str], width: int, after: str) -> Change | None:
    """width: what it reads. after: where the next block is, which says what it makes"""
    if any(name in ("conv.weight", "conv.bias") for name in held):
        return Change(width, True, True, strided=True)
    makes = _width(shapes, after) or size(shapes, f"{after}conv1.conv.weight", 1)
    up = place.startswith("decoder.")
    for made in sizes(shapes, f"{place}conv.conv"):
        more, less = (made, makes) if up else (makes, made)
        if more and less and makes and more % less == 0 and more // less in TRADED:
            change = Change(makes, *TRADED[more // less])
            return change if _has_shortcut(change, width, up) else None
    return None


TRADED = {2: (False, True), 4: (True, False), 8: (True, True)}  # channels for each: is it in space, is it in time


def _has_shortcut(change: Change, width: int, up: bool) -> bool:
    """Do the channels that a shortcut trades come out even?"""
    more, less = (change.width * change.traded, width) if up else (width * change.traded, change.width)
    return more % less == 0
