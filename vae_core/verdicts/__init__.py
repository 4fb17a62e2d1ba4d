"""Is this device known to compute this VAE wrongly? What the Doctor found is kept here, and gone around."""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from .detours import Detour, Detours, NoDetours, copy_to
    from .kept import VARIABLE, find, folder, forget, hide_home, keep, keep_and_tell, read_all
    from .machine import Machine, describe_machine, find_driver, name_device, name_processor
    from .verdict import CPU, Finding, Verdict, Way
else:
    __getattr__, __dir__ = lazy.offer(
        __name__,
        {
            "detours": "Detour Detours NoDetours copy_to",
            "kept": "VARIABLE find folder forget hide_home keep keep_and_tell read_all",
            "machine": "Machine describe_machine find_driver name_device name_processor",
            "verdict": "CPU Finding Verdict Way",
        },
    )

__all__ = [
    "CPU",
    "VARIABLE",
    "Detour",
    "Detours",
    "Finding",
    "Machine",
    "NoDetours",
    "Verdict",
    "Way",
    "copy_to",
    "describe_machine",
    "find",
    "find_driver",
    "folder",
    "forget",
    "hide_home",
    "keep",
    "keep_and_tell",
    "name_device",
    "name_processor",
    "read_all",
]
