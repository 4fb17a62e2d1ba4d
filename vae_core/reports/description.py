"""Descriptions of VAEs for people: of a file, from its header, or of a VAE that is loaded."""

from collections.abc import Mapping

from ..checkpoints.detection import Inspection
from ..errors import shorten, some
from ..families.registry import family_named
from ..latents.spaces import SPACES
from ..vae import VAE


def describe_file(found: Inspection) -> str:
    """Lines for people about a file that was inspected."""
    tensors = f"{found.tensors}, {found.bytes / 2**20:.1f} MiB"
    return format_rows(
        {
            "file": str(found.path),
            "family": found.title,
            **_facts(found),
            "holds": " and ".join(found.parts),
            "layout": found.layout + (f", under '{found.prefix}'" if found.prefix else ""),
            "tensors": tensors + (f" (and {found.others} of other networks)" if found.others else ""),
            "stored as": ", ".join(f"{count} {dtype}" for dtype, count in found.dtypes.items()),
            "missing": some(found.missing, 10),
            "unexpected": some(found.unexpected, 10),
            "misshapen": some(found.misshapen, 10),
        }
    )


def describe_vae(vae: VAE, runs_in: str) -> str:
    """Lines for people about a VAE. runs_in: dtype and device, 'bf16 on cuda:0'."""
    numbers = sum(p.numel() for p in vae.network.parameters())
    size = sum(p.numel() * p.element_size() for p in vae.network.parameters())
    return format_rows(
        {
            "VAE": vae.name,
            "family": vae.title,
            **_facts(vae),
            "holds": " and ".join(vae.config.parts),
            "runs in": runs_in,
            "weights": f"{numbers / 1e6:.1f} million, {size / 2**20:.1f} MiB",
        }
    )


def format_rows(rows: Mapping[str, str]) -> str:
    """A line 'name: text' for each row that has a text, aligned."""
    return "\n".join(f"{name + ':':<12}{shorten(text)}" for name, text in rows.items() if text)


def _facts(of: Inspection | VAE) -> dict[str, str]:
    other = of.decoded_ratio != of.spatial_ratio
    decoded = f"; decoded to {of.decoded_ratio} pixels for one of the latent" if other else ""
    frames = f", 1 frame to {of.temporal_ratio}" if of.temporal_ratio else ""
    alone = f"; of images of {of.image_size}x{of.image_size} alone" if of.image_size else ""
    version = vars(of.config).get("version", "")  # of families whose files of several versions look alike
    family = family_named(of.family)
    space = of.latent_space and f"the latents of {SPACES[of.latent_space].models} ({of.latent_space})"
    return {
        "latent": f"{of.latent_channels} channels at 1/{of.spatial_ratio}{frames}",
        "version": version and (f"read as {version}" if version in family.versions else _ask(family.versions)),
        "speaks": space or "",
        "note": family.remark(of.config) if family.remark else "",
        "pixels": f"{of.in_channels} channels in, {of.out_channels} out{decoded}{alone}",
    }


def _ask(versions: tuple[str, ...]) -> str:
    return f"{' or '.join(versions)}: nothing tells"
