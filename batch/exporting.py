"""A cache in the files of a trainer, which then need not encode anything."""

import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from torch import Tensor

from ..vae_core import BadRequest, convert
from ..vae_core.errors import some
from ..vae_core.files import make_folder, resolve_inside, write_atomically, write_tensors
from ..vae_core.latents import RAW, get_space
from .buckets import MUSUBI, SD_SCRIPTS, Fit, crop_of_sd_scripts
from .comparing import read_sound_row
from .encoding import draw
from .formats import FORMATS, VERSION, Format
from .recipe import BOTH, MEAN, Recipe
from .records import Record
from .store import Row, Store
from .verifying import names_of
from .watching import ignore

OnWritten = Callable[[int, int], None]  # (files that were written, all of them)


@dataclass(frozen=True)
class Export:
    """What to write.

    trainer   a key of FORMATS
    folder    where to; for sd-scripts the folder of the images, for musubi its cache_directory
    model     a key of FORMATS[trainer]; None: by the latent space, if that leaves one
    seed      None: the mean; else a sample of the posterior
    overwrite files that are there
    """

    trainer: str
    folder: Path
    model: str | None = None
    seed: int | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Exported:
    """files: that were written. left_out: latents without a place: other crops than the centre; musubi's mirrored."""

    model: str
    files: int
    left_out: int


@dataclass(frozen=True)
class _File:
    """A file to write: the latent, and that of the mirrored image if there is one. of_clip: of a piece of a clip."""

    path: Path
    row: Row
    flipped: Row | None = None
    of_clip: bool = False


def export(store: Store, what: Export, progress: OnWritten = ignore) -> Exported:
    """Write a file for each image, each whole or not at all.

    Raises BadRequest, before anything is written, if the cache is not what the trainer would make: other latents,
    other sizes, no samples; or if a file is there already, or two images would have the same.
    """
    rows = list(store.demand().read_rows())
    if not rows:
        raise BadRequest(f"'{store.folder}' has no latents.")
    recipe = Recipe.from_dict(store.job["recipe"])
    channels = rows[0].entry.shape[0]
    model, format = choose_format(store, channels, what)
    demand_posterior(recipe, what)
    demand_sizes(rows, recipe, what.trainer)
    space = next(one for one in format.spaces if get_space(one).channels == channels)
    files = list_files(rows, what, format, bool(recipe.frames))
    demand_places(files, what)
    for number, file in enumerate(files):
        make_folder(file.path.parent)
        _write(store, file, what, format, space)
        progress(number + 1, len(files))
    written = len(files) + sum(file.flipped is not None for file in files)
    return Exported(model, len(files), len(rows) - written)


def choose_format(store: Store, channels: int, what: Export) -> tuple[str, Format]:
    """(name, format) of the model. Raises BadRequest if the latents are not its, or if several models are possible."""
    known, space = FORMATS[what.trainer], store.job["vae"].get("latent_space")
    fitting = [name for name, one in known.items() if _fits(one, space, channels)]
    if what.model is None and len(fitting) == 1:
        return fitting[0], known[fitting[0]]
    whose = f"of {space}" if space else f"with {channels} channels of a space that the VAE does not tell"
    if not fitting:
        raise BadRequest(f"{what.trainer} keeps no latents {whose}: it has those for {', '.join(known)}.")
    if what.model is None:
        raise BadRequest(f"these are latents {whose}: say by --model whom they are for, {' or '.join(fitting)}.")
    if what.model not in fitting:
        raise BadRequest(
            f"latents {whose} are not for '{what.model}' of {what.trainer}: choose {' or '.join(fitting)}."
        )
    return what.model, known[what.model]


def _fits(format: Format, space: str | None, channels: int) -> bool:
    if space is not None:
        return space in format.spaces
    return any(get_space(one).channels == channels for one in format.spaces)


def demand_posterior(recipe: Recipe, what: Export) -> None:
    if what.seed is not None and recipe.posterior != BOTH:
        raise BadRequest(
            f"the cache has no posterior to sample from, only the {recipe.posterior}: build it with --posterior "
            f"{BOTH}, or export without --posterior sample:{what.seed}."
        )


def demand_sizes(rows: Iterable[Row], recipe: Recipe, trainer: str) -> None:
    """Raises BadRequest if the trainer would bring an image to another size: it would refuse or misread the file."""
    rule = replace(recipe, buckets=trainer).rule
    for row in rows:
        record = row.record
        try:
            fit = rule.fit(record.original)
        except BadRequest:
            fit = None
        if fit != Fit(record.bucket, record.resized):
            have = "x".join(map(str, record.bucket))
            want = f"brings it to {'x'.join(map(str, fit.bucket))}" if fit else "does not take it"
            raise BadRequest(
                f"'{record.path}' was encoded as {have}, and {trainer} {want}: build the cache with --buckets "
                f"{trainer} and the --area and --step of the training."
            )


def list_files(rows: Iterable[Row], what: Export, format: Format, clips: bool = False) -> list[_File]:
    """Each image's file, of its centre crop, or that of each piece of clips.

    Raises BadRequest for a name that leads out of the folder, and for clips that are to go into files of images.
    """
    if clips and not format.frames:
        raise BadRequest(f"this cache is of clips, and {what.trainer} has images alone for that model.")
    centres = [row for row in rows if row.record.number == 0]
    mirrored = {row.record.path: row for row in centres if row.record.flip}
    keeps_flips = what.trainer == SD_SCRIPTS
    return [
        _File(
            name_file(row.record, what, format, clips),
            row,
            mirrored.get(row.record.path) if keeps_flips else None,
            clips,
        )
        for row in centres
        if not row.record.flip
    ]


def name_file(record: Record, what: Export, format: Format, clips: bool = False) -> Path:
    """sd-scripts: as the image in its folder. musubi: all in one. Both with the image's size before it was resized."""
    path = PurePosixPath(record.path)
    width, height = record.original
    stem = path.with_suffix("") if what.trainer == SD_SCRIPTS else PurePosixPath(path.stem)
    piece = f"_{record.start:05d}-{record.frames:03d}" if clips else ""  # as musubi numbers them
    name = f"{stem}{piece}_{width:04d}x{height:04d}{format.ending}"
    try:
        return resolve_inside(what.folder, name)
    except BadRequest as error:
        raise BadRequest(
            f"'{record.path}' does not lie in the folder that the cache was built of, so its latent has no place in "
            f"'{what.folder}': build from the folder itself."
        ) from error


def demand_places(files: Iterable[_File], what: Export) -> None:
    """Raises BadRequest for files that are there, and for images that the trainer cannot tell apart.

    musubi finds the text of an image by its name alone, whatever its size.
    """
    seen: dict[str, str] = {}
    for file in files:
        path = file.row.record.path
        piece = file.row.record.start, file.row.record.frames
        name = f"{PurePosixPath(path).stem}/{piece}" if what.trainer == MUSUBI else str(file.path)
        if name in seen:
            raise BadRequest(
                f"{what.trainer} cannot tell '{seen[name]}' and '{path}' apart, whose latents would both be "
                f"'{file.path.name}' or begin like it: rename one of them."
            )
        seen[name] = path
    there = [] if what.overwrite else [file.path.name for file in files if file.path.exists()]
    if there:
        raise BadRequest(
            f"in '{what.folder}' there are {len(there)} of the files already ({some(there)}): give another folder, or "
            "--overwrite to replace them."
        )


def _write(store: Store, file: _File, what: Export, format: Format, space: str) -> None:
    latent = _convert(store, file.row, what, format, space)
    flipped = _convert(store, file.flipped, what, format, space) if file.flipped else None
    if what.trainer == MUSUBI:
        _write_musubi(file, latent, format)
    else:
        _write_sd_scripts(file, latent, flipped, format)


def _convert(store: Store, row: Row, what: Export, format: Format, space: str) -> Tensor:
    """The numbers as the trainer has them: (C, 1, h, w) with frames, else (C, h, w); dtype as stored."""
    stored = read_sound_row(store, row)
    raw = next(iter(stored[name] for name in names_of(store.job)))
    dtype = raw.dtype
    if what.seed is not None:
        raw = draw(stored[MEAN].float(), stored["logvar"].float(), what.seed, row.record.key)
    if format.convention != RAW:
        raw = convert(raw[None], get_space(space), RAW, format.convention)[0]
    if raw.ndim == 4 and not format.frames:
        raw = raw[:, 0]
    return (raw[:, None] if format.frames and raw.ndim == 3 else raw).to(dtype).contiguous()


def _write_sd_scripts(file: _File, latent: Tensor, flipped: Tensor | None, format: Format) -> None:
    """As `save_latents_to_disk` does. Of a file that is overwritten, latents of other sizes stay."""
    record = file.row.record
    end = f"_{latent.shape[-2]}x{latent.shape[-1]}" if format.sized else ""
    arrays = _read_others(file.path, end) if format.sized and file.path.exists() else {}
    arrays[f"latents{end}"] = latent.float().numpy()
    arrays[f"original_size{end}"] = np.array(record.original)
    arrays[f"crop_ltrb{end}"] = np.array(crop_of_sd_scripts(record.bucket, record.original))
    if flipped is not None:
        arrays[f"latents_flipped{end}"] = flipped.float().numpy()
    with write_atomically(file.path) as part, part.open("wb") as target:
        np.savez(target, allow_pickle=False, **arrays)


def _read_others(path: Path, end: str) -> dict[str, np.ndarray]:
    """The arrays of other sizes in a file. Raises BadRequest for one that cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if not name.endswith(end)}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BadRequest(f"'{path}' is no file of sd-scripts: remove it first.") from error


def _write_musubi(file: _File, latent: Tensor, format: Format) -> None:
    """As `save_latent_cache_common` does; the name of FLUX.2's tensor has no frames."""
    width, height = file.row.record.original
    h, w = latent.shape[-2:]
    frames = latent.shape[1] if latent.ndim == 4 else 1
    size = f"{h}x{w}" if format.spaces == ("flux2",) else f"{frames}x{h}x{w}"
    dtype = str(latent.dtype).removeprefix("torch.")
    metadata = {"architecture": format.architecture, "width": f"{width}", "height": f"{height}"}
    metadata |= {"frame_count": f"{file.row.record.frames}"} if file.of_clip else {}
    with write_atomically(file.path) as part, part.open("wb") as opened:
        write_tensors(opened, {f"latents_{size}_{dtype}": latent}, {**metadata, "format_version": VERSION})
