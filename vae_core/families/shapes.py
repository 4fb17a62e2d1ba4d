"""Reading a header: sizes and counts that a family's config is computed from."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property

Shapes = Mapping[str, tuple[int, ...]]  # of a file's tensors, by name
WIDEST = 2**15  # channels; more than any layer has, so what a damaged header may claim stays harmless


class Named(dict[str, tuple[int, ...]]):
    """Shapes by name that many ask for what their names hold. Nobody adds a name: a file has thousands."""

    @cached_property
    def text(self) -> str:
        """All names, each on a line of its own, with a line's end before the first and behind the last."""
        return "\n".join(["", *self, ""])

    @cached_property
    def tops(self) -> frozenset[str]:
        """What names begin with, up to their first dot."""
        return frozenset(name.partition(".")[0] for name in self)


def text_of(shapes: Iterable[str]) -> str:
    """See `Named.text`: it is searched in a fraction of the time that a loop over the names takes."""
    return shapes.text if isinstance(shapes, Named) else "\n".join(["", *shapes, ""])


def tops_of(shapes: Iterable[str]) -> frozenset[str]:
    """See `Named.tops`."""
    return shapes.tops if isinstance(shapes, Named) else frozenset(name.partition(".")[0] for name in shapes)


def vote(values: Iterable[int | None]) -> int | None:
    """The commonest value; None if there is none. One misshapen tensor among several does not change a config."""
    counts = Counter(v for v in values if v is not None)
    return counts.most_common(1)[0][0] if counts else None


def size(shapes: Shapes, name: str, axis: int = 0) -> int | None:
    """shapes[name][axis], or None if there is no such tensor or axis, or it is absurd."""
    shape = shapes.get(name, ())
    return shape[axis] if len(shape) > axis and 0 < shape[axis] <= WIDEST else None


def count(shapes: Shapes, prefix: str) -> int:
    """How many numbered items follow the prefix: 'decoder.up.' -> 4 for decoder.up.0 ... decoder.up.3."""
    if f"\n{prefix}" not in text_of(shapes):
        return 0
    heads = {name[len(prefix) :].partition(".")[0] for name in shapes if name.startswith(prefix)}
    numbers = [int(h) for h in heads if h.isdecimal() and len(h) < 4]
    last = max(numbers, default=-1) + 1
    return last if last <= 2 * len(numbers) + 2 else len(numbers)  # one absurd number is not a thousand blocks


def has_unread_half(shapes: Shapes, encoder: object, decoder: object) -> bool:
    """Does the file hold a half that could not be read? encoder, decoder: what was read of each; nothing if false."""
    held = tops_of(shapes)
    return ("encoder" in held and not encoder) or ("decoder" in held and not decoder)
