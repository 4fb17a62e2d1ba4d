"""Core nodes for texts, under ComfyUI's ids."""

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from ...vae_core.errors import BadRequest
from .declaring import Core, whole

TEXT: tuple[Any, ...] = ("STRING", {"multiline": True, "tooltip": "The text."})
PATTERN: tuple[Any, ...] = ("STRING", {"multiline": True, "tooltip": "A regular expression of Python."})
FLAGS: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "case_insensitive": ("BOOLEAN", {"default": True, "tooltip": "Take small and capital letters as equal."}),
        "multiline": ("BOOLEAN", {"default": False, "tooltip": "Let ^ and $ match at every line."}),
        "dotall": ("BOOLEAN", {"default": False, "tooltip": "Let a dot match the end of a line, too."}),
    }
)
CASED: tuple[Any, ...] = ("BOOLEAN", {"default": True, "tooltip": "Tell small letters from capital ones."})


class _Text(Core):
    RETURN_TYPES = ("STRING",)
    OUTPUT_TOOLTIPS = ("The text.",)
    CATEGORY = "text"


class StringConcatenate(_Text):
    DESCRIPTION = "Puts two texts into one."
    TAKES = {"string_a": ("STRING", {"multiline": True}), "string_b": ("STRING", {"multiline": True}),
             "delimiter": ("STRING", {"default": ""})}  # fmt: skip

    def run(self, string_a: str, string_b: str, delimiter: str) -> tuple[str]:
        return (delimiter.join((string_a, string_b)),)


class StringReplace(_Text):
    DESCRIPTION = "Replaces a part of a text wherever it is."
    TAKES = {"string": TEXT, "find": ("STRING", {"multiline": True, "tooltip": "What is replaced."}),
             "replace": ("STRING", {"multiline": True, "tooltip": "What stands there instead."})}  # fmt: skip

    def run(self, string: str, find: str, replace: str) -> tuple[str]:
        return (string.replace(find, replace),)


class StringTrim(_Text):
    DESCRIPTION = "Takes white space away from the ends of a text."
    TAKES = {"string": TEXT, "mode": (["Both", "Left", "Right"], {"tooltip": "From which end."})}

    def run(self, string: str, mode: str) -> tuple[str]:
        return ({"Both": string.strip, "Left": string.lstrip, "Right": string.rstrip}[mode](),)


class StringSubstring(_Text):
    DESCRIPTION = "Takes a part of a text."
    FIRST: ClassVar[str] = "The number of its first letter, from 0; a negative one counts from the end."
    TAKES = {"string": TEXT, "start": ("INT", {"tooltip": FIRST}),
             "end": ("INT", {"tooltip": "The number of the letter behind it."})}  # fmt: skip

    def run(self, string: str, start: int, end: int) -> tuple[str]:
        return (string[start:end],)


class CaseConverter(_Text):
    DESCRIPTION = "Changes small and capital letters."
    MODES: ClassVar[list[str]] = ["UPPERCASE", "lowercase", "Capitalize", "Title Case"]
    TAKES = {"string": TEXT, "mode": (MODES, {"tooltip": "How."})}

    def run(self, string: str, mode: str) -> tuple[str]:
        made = (string.upper, string.lower, string.capitalize, string.title)
        return (made[self.MODES.index(mode)](),)


class StringLength(_Text):
    DESCRIPTION = "Counts the letters of a text."
    TAKES = {"string": TEXT}
    RETURN_TYPES = ("INT",)
    OUTPUT_TOOLTIPS = ("How many.",)

    def run(self, string: str) -> tuple[int]:
        return (len(string),)


class StringContains(_Text):
    DESCRIPTION = "Says whether a text has another one in it."
    TAKES = {"string": TEXT, "substring": ("STRING", {"multiline": True, "tooltip": "The other text."}),
             "case_sensitive": CASED}  # fmt: skip
    RETURN_TYPES = ("BOOLEAN",)
    OUTPUT_TOOLTIPS = ("Yes or no.",)

    def run(self, string: str, substring: str, case_sensitive: bool) -> tuple[bool]:
        return (substring in string if case_sensitive else substring.lower() in string.lower(),)


class StringCompare(_Text):
    DESCRIPTION = "Compares two texts."
    TAKES = {"string_a": TEXT, "string_b": TEXT,
             "mode": (["Starts With", "Ends With", "Equal"], {"tooltip": "What is asked of the first text."}),
             "case_sensitive": CASED}  # fmt: skip
    RETURN_TYPES = ("BOOLEAN",)
    OUTPUT_TOOLTIPS = ("Yes or no.",)

    def run(self, string_a: str, string_b: str, mode: str, case_sensitive: bool) -> tuple[bool]:
        first, second = (string_a, string_b) if case_sensitive else (string_a.lower(), string_b.lower())
        asked: Mapping[str, Callable[[str], bool]] = {
            "Starts With": first.startswith, "Ends With": first.endswith, "Equal": first.__eq__
        }  # fmt: skip
        return (asked[mode](second),)


class RegexMatch(_Text):
    DESCRIPTION = "Says whether a regular expression is found in a text."
    TAKES = {"string": TEXT, "regex_pattern": PATTERN, **FLAGS}
    RETURN_TYPES = ("BOOLEAN",)
    OUTPUT_TOOLTIPS = ("Yes or no.",)

    def run(
        self, string: str, regex_pattern: str, case_insensitive: bool, multiline: bool, dotall: bool
    ) -> tuple[bool]:
        """No regular expression is found nowhere."""
        try:
            return (bool(_compile(regex_pattern, case_insensitive, multiline, dotall).search(string)),)
        except BadRequest:
            return (False,)


class RegexExtract(_Text):
    DESCRIPTION = "Takes what a regular expression finds in a text."
    MODES: ClassVar[list[str]] = ["First Match", "All Matches", "First Group", "All Groups"]
    TAKES = {"string": TEXT, "regex_pattern": PATTERN,
             "mode": (MODES, {"tooltip": "The first of what is found or all, whole or a group of it."}), **FLAGS,
             "group_index": whole(1, 0, 100, tooltip="Which group; 0 is the whole.")}  # fmt: skip

    def run(
        self, string: str, regex_pattern: str, mode: str, case_insensitive: bool, multiline: bool, dotall: bool,
        group_index: int,
    ) -> tuple[str | None]:  # fmt: skip
        """Several stand in lines. "" if nothing is found, or it is no regular expression."""
        try:
            pattern = _compile(regex_pattern, case_insensitive, multiline, dotall)
        except BadRequest:
            return ("",)
        group = group_index if "Group" in mode else min(pattern.groups, 1) if mode == "All Matches" else 0
        groups = pattern.groups if mode != "All Groups" or pattern.groups else -1
        found = pattern.finditer(string) if group <= groups else ()
        texts = [one[group] for one in found]
        if mode.startswith("First"):
            return (texts[0] if texts else "",)
        return ("\n".join(text or "" for text in texts),)


class RegexReplace(_Text):
    DESCRIPTION = "Replaces what a regular expression finds in a text."
    WITH: ClassVar[str] = "What stands there instead; \\1 is the first group."
    TAKES = {"string": TEXT, "regex_pattern": PATTERN,
             "replace": ("STRING", {"multiline": True, "tooltip": WITH})}  # fmt: skip
    MAY_TAKE = {**FLAGS, "count": whole(0, 0, 100, tooltip="How often at most; 0: always.")}

    def run(
        self, string: str, regex_pattern: str, replace: str, case_insensitive: bool = True, multiline: bool = False,
        dotall: bool = False, count: int = 0,
    ) -> tuple[str]:  # fmt: skip
        """Raises BadRequest if it is no regular expression."""
        return (_compile(regex_pattern, case_insensitive, multiline, dotall).sub(replace, string, count=count),)


class JsonExtractString(_Text):
    DESCRIPTION = "Takes a value out of a text of JSON."
    TAKES = {"json_string": TEXT, "key": ("STRING", {"tooltip": "The name of the value."})}

    def run(self, json_string: str, key: str) -> tuple[str]:
        """ "" if there is no such value, or the text is no JSON object."""
        try:
            found = json.loads(json_string)
        except (ValueError, RecursionError):
            return ("",)
        value = found.get(key) if isinstance(found, dict) else None
        return ("" if value is None else str(value),)


TEXTS = (StringConcatenate, StringReplace, StringTrim, StringSubstring, CaseConverter, StringLength, StringContains,
         StringCompare, RegexMatch, RegexExtract, RegexReplace, JsonExtractString)  # fmt: skip


def _compile(pattern: str, case_insensitive: bool, multiline: bool, dotall: bool) -> re.Pattern[str]:
    flags = re.RegexFlag(0)
    for flag, wanted in ((re.IGNORECASE, case_insensitive), (re.MULTILINE, multiline), (re.DOTALL, dotall)):
        flags |= flag if wanted else re.RegexFlag(0)
    try:
        return re.compile(pattern, flags)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadRequest(f"'{pattern}' is no regular expression: {error}") from error
