"""Which frames does a video hold, and how is one written? Video files by PyAV (`av`), and folders of images.

Both go frame by frame, so a clip may be longer than memory.
"""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from .codecs import CODECS, FASTEST, READABLE, SUFFIXES, WORST_CRF, Codec, Colours, Encoding, choose_encoding
    from .copying import copy_video
    from .facts import VideoFacts, read_facts
    from .folders import USUAL_RATE, ImageFrames, PagesOfFile
    from .reading import Span, VideoFrames, import_av, open_frames
    from .sounds import SoundEncoding, cut_sound, read_sound, write_sound
    from .writing import VideoFile
else:
    __getattr__, __dir__ = lazy.offer(
        __name__,
        {
            "codecs": "CODECS FASTEST READABLE SUFFIXES WORST_CRF Codec Colours Encoding choose_encoding",
            "copying": "copy_video",
            "facts": "VideoFacts read_facts",
            "folders": "USUAL_RATE ImageFrames PagesOfFile",
            "reading": "Span VideoFrames import_av open_frames",
            "sounds": "SoundEncoding cut_sound read_sound write_sound",
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
    "Codec",
    "Colours",
    "Encoding",
    "ImageFrames",
    "PagesOfFile",
    "SoundEncoding",
    "Span",
    "VideoFacts",
    "VideoFile",
    "VideoFrames",
    "choose_encoding",
    "copy_video",
    "cut_sound",
    "import_av",
    "open_frames",
    "read_facts",
    "read_sound",
    "write_sound",
]
