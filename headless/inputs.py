"""One input of a node class: its name, type and options."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Input:
    name: str
    type: Any  # "IMAGE", or the list of choices of a combo
    options: Mapping[str, Any]
    required: bool

    @cached_property
    def choices(self) -> list[Any] | None:
        """What a combo allows, declared as (["a", "b"], {}) or ("COMBO", {"options": ["a", "b"]}); else None."""
        if isinstance(self.type, list | tuple):
            return list(self.type)
        return list(self.options.get("options", ())) if self.type == "COMBO" else None

    @property
    def widget_type(self) -> Any:
        """The type of the widget that shows it, which a union of types names apart."""
        return self.options.get("widgetType", self.type)

    @property
    def lazy(self) -> bool:
        return bool(self.options.get("lazy"))

    @property
    def raw(self) -> bool:
        """Is a link given to it as the link that it is?"""
        return bool(self.options.get("rawLink"))

    @property
    def config(self) -> list[Any]:
        """The declaration, as error records show it."""
        return [self.type, dict(self.options)]


def read_inputs(types: Mapping[str, Any], prefix: str = "", demanded: bool = True) -> list[Input]:
    """types: as INPUT_TYPES gives them. demanded: False if even the required ones may be missing."""
    groups = (("required", demanded), ("optional", False))
    return [
        _read_input(f"{prefix}{name}", entry, required)
        for group, required in groups
        for name, entry in (types.get(group) or {}).items()
    ]


def _read_input(name: str, entry: Any, required: bool) -> Input:
    options = entry[1] if len(entry) > 1 and entry[1] else {}
    return Input(name, entry[0], options, required)
