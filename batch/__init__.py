"""Folders of images to latents, for training: resumable, with equal bits each time.

records.py    what is known of a source, of an item to encode, and of a latent
sources.py    where images lie: folders and lists; tars.py in archives, tables.py in tables; captions.py their texts
texts.py      what is no UTF-8 is left out
clips.py      videos and folders of frames
buckets.py    which size an image is brought to; the rules of trainers, to the pixel
fitting.py    brings an image to that size
recipe.py     everything that changes numbers
planning.py   sources to items, items to shards
reading.py    the bytes and pixels of a source; colours.py makes them sRGB
mishaps.py    errors that say nothing of the image, so that it is tried again
encoding.py   items to latents, on one device; workers.py on several; in_hand.py one that is loaded already
shards.py     the files of latents
store.py      the folder: shards, index, job, skipped
places.py     sources and folders in object stores
binding.py    the VAE and the recipe of the folder and its shards, which a run must have
backends.py   who does the work: this machine here; the package cluster has Ray
building.py   the way from a source to that folder
summary.py    what such a folder is
verifying.py  is it as it was made? statistics.py of its channels; comparing.py with what a VAE gives
watching.py   nobody watches a job, unless somebody asks to
dataset.py    the way from such a folder to a trainer in Python
exporting.py  to the files of trainers, which formats.py describes
webdataset.py to archives of WebDataset
trainers      caches that trainers made, and what is wrong with them
"""

from typing import TYPE_CHECKING

from ..vae_core import lazy

if TYPE_CHECKING:
    from .buckets import RULES
    from .building import Report, Request, build
    from .comparing import Sample, compare, demand_vae, draw_sheet
    from .dataset import BucketSampler, LatentDataset
    from .encoding import Loading
    from .exporting import Export, Exported, export
    from .in_hand import InHand
    from .recipe import POSTERIORS, STORED, Recipe
    from .store import Store
    from .summary import Summary, count_reasons, summarise
    from .trainers.checking import Check, TrainerFindings, check
    from .verifying import Findings, Problem, verify
    from .webdataset import Archives, Packed, export_archives
else:
    __getattr__, __dir__ = lazy.offer(
        __name__,
        {
            "buckets": "RULES",
            "building": "Report Request build",
            "comparing": "Sample compare demand_vae draw_sheet",
            "dataset": "BucketSampler LatentDataset",
            "encoding": "Loading",
            "exporting": "Export Exported export",
            "in_hand": "InHand",
            "recipe": "POSTERIORS STORED Recipe",
            "store": "Store",
            "summary": "Summary count_reasons summarise",
            "trainers.checking": "Check TrainerFindings check",
            "verifying": "Findings Problem verify",
            "webdataset": "Archives Packed export_archives",
        },
    )

__all__ = [
    "POSTERIORS",
    "RULES",
    "STORED",
    "Archives",
    "BucketSampler",
    "Check",
    "Export",
    "Exported",
    "Findings",
    "InHand",
    "LatentDataset",
    "Loading",
    "Packed",
    "Problem",
    "Recipe",
    "Report",
    "Request",
    "Sample",
    "Store",
    "Summary",
    "TrainerFindings",
    "build",
    "check",
    "compare",
    "count_reasons",
    "demand_vae",
    "draw_sheet",
    "export",
    "export_archives",
    "summarise",
    "verify",
]
