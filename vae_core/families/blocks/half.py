"""The two halves of a VAE."""

from enum import Enum

from ...errors import BadRequest


class Half(Enum):
    """One half of a VAE. Its words are for sentences: verb 'encode', noun 'encoder', doing 'encoding'."""

    ENCODER = ("encode", "encoder", "encoding")
    DECODER = ("decode", "decoder", "decoding")

    def __init__(self, verb: str, noun: str, doing: str):
        self.verb = verb
        self.noun = noun
        self.doing = doing

    @classmethod
    def of(cls, half: "Half | str") -> "Half":
        """The half itself, or the one of this verb: 'encode' or 'decode'. Raises BadRequest for any other word."""
        for one in cls:
            if half in (one, one.verb):
                return one
        raise BadRequest(f"there is no plan to '{half}': choose encode or decode.")
