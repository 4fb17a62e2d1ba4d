"""How many frames of a clip become how many frames of its latent."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ClipLaw:
    """The law of a VAE of clips: which frames one step of its latent stands for.

    first            frames of the clip in its first step
    step             frames in every later step
    first_latents    latent frames that the first step becomes
    next_latents     latent frames that every later step becomes
    images_are_clips an image is run as a clip of one frame. If false, `as_single_frame` rewrites the ops for images
    images_join      several images are frames of one clip all the same, since its models make clips
    one_by_one       the network is defined by running it one step at a time: norms see the frames of a step together.
                     What is over, of a clip of any length, joins the first step
    part             if not 0, the network is defined by running it so many later steps at a time: norms see the frames
                     of a part together. The first step joins the first part, what is over is a part by itself
    counts           if given, any number of latent frames is decoded: how many frames each stands for, in turn

    Wan 2.1 has ClipLaw(1, 4): 1, 5, 9 ... frames become 1, 2, 3 ... latent frames. HunyuanImage 3.0 has ClipLaw(4, 4):
    4, 8, 12 ... frames do. A VAE that keeps every frame has ClipLaw().
    """

    first: int = 1
    step: int = 1
    first_latents: int = 1
    next_latents: int = 1
    images_are_clips: bool = False
    images_join: bool = False
    one_by_one: bool = False
    part: int = 0
    counts: tuple[int, ...] = ()

    @property
    def images_stay_apart(self) -> bool:
        """Are several images each a clip of its own to the models, because one fills a whole step of several frames?"""
        return self.images_are_clips and self.first > 1 and not self.images_join

    def runs_clip(self, shape: Sequence[int]) -> bool:
        """Is what has this shape, (B, C, H, W) or (B, C, T, H, W), run as clips? Else as images."""
        return self.images_are_clips or (len(shape) == 5 and shape[2] > 1)

    @property
    def steps_at_once(self) -> int:
        """Later steps in a part of a network that is defined by its parts; 0 for any other."""
        return 1 if self.one_by_one else self.part

    def latents(self, frames: int) -> int:
        """Frames of the latent of a clip of so many frames, which is continued by those that are `missing`.

        Of an image one, unless images are clips.
        """
        if frames == 1 and not self.images_are_clips:
            return 1
        later = (frames + self.missing(frames) - self.first) // self.step
        return self.first_latents + later * self.next_latents

    def frames(self, latents: int) -> int:
        """Frames of the longest clip whose latent has so many frames."""
        return self.first + self.step * ((latents - self.first_latents) // self.next_latents)

    def decoded(self, latents: int) -> int:
        """Frames that so many latent frames are decoded to, also of a number of them that encoding never makes."""
        if self.counts:
            rounds, rest = divmod(latents, len(self.counts))
            return rounds * sum(self.counts) + sum(self.counts[:rest])
        over = self.one_by_one and (latents - self.first_latents) % self.next_latents
        return self.step // self.next_latents * latents if over else self.frames(latents)

    def missing(self, frames: int) -> int:
        """How many frames a clip lacks to be encoded: it ends with a whole step."""
        return max(self.first - frames, 0) + -max(frames - self.first, 0) % self.step


# Of its tiny VAE too: of each 17 frames the first becomes a latent frame, and every four after it; three are left out.
MINIMAX_H3 = ClipLaw(5, 17, first_latents=2, next_latents=5, counts=(1, 4, 4, 4, 4))
