"""Of which version a VAE is, where files of several have the same names and shapes but are run differently."""

from pathlib import Path

from ..errors import BrokenCheckpoint, UnknownCheckpoint
from ..families import Config
from ..families.registry import family_named, title
from .checkpoint import VERSION, Checkpoint


def find_version(family: str, config: Config, checkpoint: Checkpoint) -> str | None:
    """As `save` noted it, or by the name that its authors gave the file; None if there is but one, or nothing says.

    Raises BrokenCheckpoint for one that there is not.
    """
    known = family_named(family)
    if not known.find_version or not vars(config).get("version"):
        return None
    said = checkpoint.metadata.get(VERSION) or known.find_version(checkpoint.files[0])
    if said and said not in known.versions:
        every = " or ".join(known.versions)
        raise BrokenCheckpoint(f"'{checkpoint.path}' says that it is of version '{said[:40]}': there is {every}.")
    return said


def demand_version(family: str, config: Config, path: Path | str) -> None:
    """Raise UnknownCheckpoint for a config whose version nothing told."""
    version, known = vars(config).get("version"), family_named(family).versions
    if version and version not in known:
        raise UnknownCheckpoint(
            f"'{path}' is a VAE ({title(family, config)}), but neither its tensors nor its name tell whether it is of "
            f"{', '.join(known[:-1])} or {known[-1]}, and each is run differently: put that word into its name or into "
            "that of its folder."
        )
