"""Folders of images to latents, for training: resumable, with equal bits each time.

records.py    what is known of a source, of an item to encode, and of a latent
sources.py    where images lie: folders and lists; tars.py in archives, tables.py in tables; captions.py their texts
buckets.py    which size an image is brought to; the rules of trainers, to the pixel
fitting.py    brings an image to that size
recipe.py     everything that changes numbers
planning.py   sources to items, items to shards
reading.py    the bytes and pixels of a source; colours.py makes them sRGB
encoding.py   items to latents, on one device; workers.py on several
shards.py     the files of latents
store.py      the folder: shards, index, job, skipped
building.py   the way from a source to that folder
summary.py    what such a folder is
"""

from .building import Report, Request, build
from .encoding import Loading
from .recipe import Recipe
from .store import Store
from .summary import Summary, summarise

__all__ = ["Loading", "Recipe", "Report", "Request", "Store", "Summary", "build", "summarise"]
