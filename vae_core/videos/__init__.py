"""Which frames does a video hold, and how is one written? Video files by PyAV (`av`), and folders of images.

Both go frame by frame, so a clip may be longer than memory.
"""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from .codecs import CODECS, FASTEST, READABLE, SUFFIXES, WORST_CRF, Encoding, choose_encoding
    from .copying import copy_video
    from .folders import USUAL_RATE, ImageFrames, PagesOfFile
    from .reading import VideoFrames, open_frames
    from .sounds import SoundEncoding, read_sound, write_sound
    from .writing import VideoFile
else:
    __getattr__, __dir__ = lazy.offer(
        __name__,
        {
            "codecs": "CODECS FASTEST READABLE SUFFIXES WORST_CRF Encoding choose_encoding",
            "copying": "copy_video",
            "folders": "USUAL_RATE ImageFrames PagesOfFile",
            "reading": "VideoFrames open_frames",
            "sounds": "SoundEncoding read_sound write_sound",
            "writing": "VideoFile",
        },
    )

__all__ = [
    "CODECS",
    "FASTEST",
    "READABLE",
    "SUFFIXES",
    "USUAL_RATE",
    "WORST_CRF",
    "Encoding",
    "ImageFrames",
    "PagesOfFile",
    "SoundEncoding",
    "VideoFile",
    "VideoFrames",
    "choose_encoding",
    "copy_video",
    "open_frames",
    "read_sound",
    "write_sound",
]
