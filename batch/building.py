"""The way from images to a cache of their latents."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..vae_core import VAE, BadRequest, __version__
from ..vae_core.errors import some
from ..vae_core.images import demand_alpha
from .backends import Backend, Local, Work
from .binding import demand_same, demand_same_shards, describe
from .clips import count_latent_frames, demand_frames
from .encoding import Agreed, Loading, demand_posterior, read_plans
from .limits import SHARD
from .places import is_same
from .planning import Shard, Survey, plan_items, plan_shards, survey
from .recipe import BOTH, Recipe
from .records import Image, Item, Shape, Skipped, name_shape
from .shards import Contents
from .sources import list_sources
from .store import Row, Store
from .texts import demand_name
from .watching import ignore

OnLook = Callable[[int], None]
OnProgress = Callable[[int, int, int], None]  # (latents that are there, all that shall be, sources skipped)


@dataclass(frozen=True)
class Request:
    """What to build.

    source    a folder, a list, an archive or a table of images
    out       the folder of the cache
    loading   the VAE
    recipe    how images become latents
    devices   one: encode in this process; several: a process for each
    captions  the ending of the files with captions, or 'none'
    limit     of sources; None: all
    update    take sources that have changed, are new or gone, instead of refusing them
    shard     bytes of a shard, about
    on_look   called with the number of images that were looked at before any is encoded; it may raise, to stop
    backend   who does the work; None: this machine with its `devices`
    """

    source: Path
    out: Path
    loading: Loading
    recipe: Recipe
    devices: tuple[str, ...] = ("cpu",)
    captions: str = ".txt"
    limit: int | None = None
    update: bool = False
    shard: int = SHARD
    on_look: OnLook = ignore
    backend: Backend | None = None


class Report(NamedTuple):
    """What is to be done, or was.

    encoded  latents that were made, or would be
    skipped  sources without a latent
    buckets  items of each, by (width, height), of clips (width, height, frames)
    again    of the sources that were skipped: how many the next run tries again
    """

    latents: int
    encoded: int
    skipped: int
    buckets: Mapping[Shape, int]
    again: int = 0


_Seen = tuple[Mapping[str, Any], list[str]]  # job.json and the shards that were there when a job was compared with them


class _Job(NamedTuple):
    """A request that is ready to run."""

    backend: Backend
    store: Store
    vae: VAE
    recipe: Recipe
    plans: dict[Shape, Agreed]
    found: Survey
    items: list[Item]
    unfit: list[Skipped]
    kept: dict[str, Contents]
    shards: list[Shard]
    seen: _Seen

    @property
    def missing(self) -> int:
        return sum(len(shard.items) for shard in self.shards)

    @property
    def done(self) -> int:
        return sum(len(contents.entries) for contents in self.kept.values())

    def report(self) -> Report:
        buckets: dict[Shape, int] = {}
        for item in self.items:
            buckets[item.record.shape] = buckets.get(item.record.shape, 0) + 1
        skipped = _list_skipped(self)
        again = sum(one.again for one in skipped)
        return Report(len(_list_rows(self)), self.missing, len(skipped), dict(sorted(buckets.items())), again)


def build(request: Request, *, dry_run: bool = False, progress: OnProgress = ignore) -> Report:
    """Encode what is not encoded yet. With dry_run, only say what that is.

    Raises BadRequest if the folder holds a cache of another VAE, recipe or other images, and names the difference, and
    if there is no image, before anything is written; and if another run is writing into the folder.
    DoesNotFit if memory is too small. What is wrong with one image is listed in skipped.jsonl.
    """
    job = _prepare(request)
    if dry_run:
        return job.report()
    job.store.make()
    with job.store.held():
        if _look(Store(request.out)) != job.seen:  # another run has been here meanwhile
            job = _prepare(request)
        before = job.done
        _write_down(request, job)
        try:
            _encode(request, job, progress)
        finally:
            job.store.write_index(_list_rows(job), _list_skipped(job))
        return job.report()._replace(encoded=job.done - before)


def _prepare(request: Request) -> _Job:
    if is_same(request.source, request.out):
        raise BadRequest(f"'{request.out}' has the images: name another folder for what is made of them.")
    demand_name(request.out)
    backend, recipe = request.backend or Local(request.devices), request.recipe.check()
    store, vae = Store(request.out), backend.load(request.loading)
    demand_posterior(vae, recipe)
    demand_frames(vae, recipe)
    demand_alpha(vae.in_channels, recipe.alpha, recipe.background)
    now, seen = describe(vae, recipe), _look(store)
    demand_same(store, now)
    if not request.update:
        _demand_same_captions(store, request.captions)
    known = _read_known(store, request.update)
    sources = list_sources(request.source, request.captions, request.out, request.limit, clips=bool(recipe.frames))
    found = survey(sources, known, recipe.smallest, request.on_look, backend.look)
    if not (found.images or found.skipped or known):
        raise BadRequest(
            f"there is no image in '{request.source}'{', nor below it' if request.source.is_dir() else ''}."
        )
    if not request.update:
        _demand_same_images(store, known, found.images, {one.path for one in store.read_skipped() if one.again})
    items, unfit = plan_items(found.images, recipe)
    kept = {name: store.read(name) for name in store.list_shards()}
    demand_same_shards(store, kept, items, now)
    left = _list_left(items, kept)
    plans = read_plans(store.job)
    plans |= backend.agree(vae, recipe, sorted({item.record.shape for item in left} - plans.keys()))
    shards = list(plan_shards(left, {shape: _bytes_of(vae, shape, recipe) for shape in plans}, request.shard))
    return _Job(backend, store, vae, recipe, plans, found, items, unfit, kept, shards, seen)


def _look(store: Store) -> _Seen:
    return store.job, store.list_shards()


def _read_known(store: Store, update: bool) -> dict[str, Image]:
    """The images of the run before; with update, a broken list is as good as none."""
    try:
        return store.read_images() if store.is_bound else {}
    except BadRequest:
        if update:
            return {}
        raise


def _list_left(items: Iterable[Item], kept: Mapping[str, Contents]) -> list[Item]:
    """Items without a latent that were not found broken before."""
    there = {entry.record.key for contents in kept.values() for entry in contents.entries}
    done = there | {one.item for contents in kept.values() for one in contents.skipped if not one.again}
    return [item for item in items if not {item.record.key, item.record.id} & done]


def _bytes_of(vae: VAE, shape: Shape, recipe: Recipe) -> int:
    ratio, (width, height, *frames) = vae.spatial_ratio, shape
    numbers = vae.latent_channels * -(-width // ratio) * -(-height // ratio)
    numbers *= count_latent_frames(vae, frames[0]) if frames else 1
    return numbers * recipe.dtype.itemsize * (2 if recipe.posterior == BOTH else 1)


def _demand_same_captions(store: Store, captions: str) -> None:
    """Raises BadRequest if the captions are not those of before, of which an earlier version said nothing."""
    before = store.job.get("captions", captions) if store.is_bound else captions
    if before != captions:
        raise BadRequest(
            f"the captions of '{store.folder}' are of --captions {before}, not {captions}: give the same, or --update, "
            "which takes the captions anew."
        )


def _demand_same_images(store: Store, known: Mapping[str, Image], images: Iterable[Image], awaited: set[str]) -> None:
    """Raises BadRequest if the sources are not those of the run before. awaited: that could not be read then."""
    if not known:
        return
    now = {image.source.path: image.id for image in images if image.source.path not in awaited - known.keys()}
    new, gone = sorted(now.keys() - known.keys()), sorted(known.keys() - now.keys())
    changed = sorted(path for path in now.keys() & known.keys() if known[path].id != now[path])
    lists = {"new": new, "gone": gone, "changed": changed}
    said = [f"{len(paths)} {what} ({some(paths)})" for what, paths in lists.items() if paths]
    if said:
        raise BadRequest(
            f"the images are not those that '{store.folder}' was made of: {', '.join(said)}; --update encodes what has "
            "changed and forgets what is gone."
        )


def _write_down(request: Request, job: _Job) -> None:
    """What a later run is compared with, before anything is encoded."""
    said = describe(job.vae, job.recipe)
    said["vae"] |= {"name": job.vae.name, "title": job.vae.title, "device": job.backend.device.partition(":")[0]}
    said["vae"] |= {"spatial_ratio": job.vae.spatial_ratio}
    plans = {name_shape(shape): [how.rows, how.images] for shape, how in sorted(job.plans.items())}
    more = {"convention": "raw", "source": str(request.source), "captions": request.captions}
    more |= {"version": __version__, "plans": plans}
    job.store.write_job({**said, **more})
    job.store.write_images(job.found.images)


def _encode(request: Request, job: _Job, progress: OnProgress) -> None:
    done, total = job.done, job.done + job.missing
    skipped = len(job.found.skipped) + len(job.unfit)

    def tell(latents: int, broken: int) -> None:
        progress(done + latents, total, skipped + broken)

    tell(0, 0)
    loading = replace(request.loading, dtype=job.vae.dtype)
    work = Work(loading, job.vae, job.recipe, job.plans, job.shards, job.store)
    for name, contents in job.backend.make_shards(work, tell):
        job.kept[name] = contents


def _list_rows(job: _Job) -> list[Row]:
    """The index: latents whose images are still there, in the order of the images."""
    places = {
        entry.record.key: (name, entry) for name, contents in sorted(job.kept.items()) for entry in contents.entries
    }
    rows = []
    for item in job.items:
        if item.record.key in places:
            name, entry = places[item.record.key]
            rows.append(Row(name, replace(entry, record=item.record), item.source.caption))  # it may have been renamed
    return rows


def _list_skipped(job: _Job) -> list[Skipped]:
    """Sources without a latent. What was tried again has the reason of the last time, or has a latent by now."""
    there = {image.id for image in job.found.images}
    made = {entry.record.key for contents in job.kept.values() for entry in contents.entries}
    lacking = {name for item in job.items if item.record.key not in made for name in (item.record.key, item.record.id)}
    found = [one for contents in job.kept.values() for one in contents.skipped if one.id in there]
    broken = {one.item for one in found if not one.again}
    told = {(one.id, one.path, one.reason): one for one in found if not one.again}
    told |= {(one.id, one.path): one for one in found if one.again and one.item in lacking - broken}
    return [*job.found.skipped, *job.unfit, *told.values()]
