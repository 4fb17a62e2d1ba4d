"""VAEs that are recognised but not run: told apart so that a file of theirs is refused by its name.

For every file at most one row or one family answers.
"""

from typing import NamedTuple

from .blocks.base import Member
from .shapes import Shapes


class Foreign(NamedTuple):
    """Files of others. of: whose they are. names: any of which is proof"""

    of: Member
    names: tuple[str, ...]

    @property
    def title(self) -> str:
        return self.of.models

    def refuse(self) -> str:
        """Why such a file is refused."""
        title, channels, ratio, frames = self.of
        facts = f"{channels} channels at 1/{ratio}" + (f", 1 frame to {frames}" if frames else "")
        return f"this is the VAE of {title} ({facts}), which is not supported yet."

    def matches(self, shapes: Shapes) -> bool:
        return any(name in shapes for name in self.names)


def recognise(shapes: Shapes) -> Foreign | None:
    """The row these names (without prefix) belong to."""
    return next((row for row in FOREIGN if row.matches(shapes)), None)


FOREIGN: tuple[Foreign, ...] = (
    # kandinskylab/KVAE-3D-2.0-t4s8: as Kandinsky 6's, but for what is beyond the borders of an image
    Foreign(Member("KVAE 3-D 2.0", 16, 8, 4), names=("encoder.down.0.downsample.temporal_conv.0.conv.weight",)),
)
