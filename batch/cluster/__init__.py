"""A cluster of Ray does the work of a job.

connecting.py  to a cluster, or one that is started here
machines.py    what each machine must be and see, so that all give the same bits
pieces.py      parts of shards that encoders write, each in a file of its own, until the shard is whole
pipeline.py    what runs on the machines: readers, encoders, writers
waiting.py     what takes long is remarked on
backend.py     the job from here: plans, sends, counts what is made, and has pieces joined

Only paths and latents go from machine to machine; an image is decoded beside the encoder that takes it. The shards, and
what is in them, are planned before anything is sent, so whoever makes a piece, and how often, its name and bits are
the same.
"""

from .backend import RayBackend
from .connecting import connect

__all__ = ["RayBackend", "connect"]
