"""Letters of 5 x 7 pixels, so that a chart or a label needs no font file and is the same on every machine."""

import torch
from torch import Tensor

ROWS, COLUMNS = 7, 5  # of a letter
GAP = 1  # columns between letters

# Seven rows each from the top, a digit to base 32 for the five pixels of a row: G is the left one, 1 the right one.
GLYPHS = {
    "A": "EHHVHHH", "B": "UHHUHHU", "C": "EHGGGHE", "D": "SIHHHIS", "E": "VGGUGGV", "F": "VGGUGGG", "G": "EHGNHHF",
    "H": "HHHVHHH", "I": "E44444E", "J": "72222IC", "K": "HIKOKIH", "L": "GGGGGGV", "M": "HRLLHHH", "N": "HHPLJHH",
    "O": "EHHHHHE", "P": "UHHUGGG", "Q": "EHHHLID", "R": "UHHUKIH", "S": "FGGE11U", "T": "V444444", "U": "HHHHHHE",
    "V": "HHHHHA4", "W": "HHHLLLA", "X": "HHA4AHH", "Y": "HHHA444", "Z": "V1248GV", "0": "EHJLPHE", "1": "4C4444E",
    "2": "EH1248V", "3": "V2421HE", "4": "26AIV22", "5": "VGU11HE", "6": "68GUHHE", "7": "V124888", "8": "EHHEHHE",
    "9": "EHHF12C", " ": "0000000", ".": "00000CC", ",": "0000C48", ":": "0CC0CC0", "-": "000V000", "+": "044V440",
    "/": "01248G0", "%": "OP248J3", "(": "2488842", ")": "8422248", "<": "248G842", ">": "8421248", "=": "00V0V00",
    ";": "0CC0C48", "_": "000000V", "?": "EH12404",
}  # fmt: skip


def draw_letters(text: str, scale: int = 1) -> Tensor:
    """The text in capitals, (7 * scale, W) of 0 and 1, float32. A letter that is not in GLYPHS is a question mark."""
    rows = [_draw_row([GLYPHS.get(letter, GLYPHS["?"])[row] for letter in text.upper()]) for row in range(ROWS)]
    return torch.tensor(rows, dtype=torch.float32).repeat_interleave(scale, 0).repeat_interleave(scale, 1)


def letters_width(text: str, scale: int = 1) -> int:
    """Pixels that a text is wide."""
    return len(text) * (COLUMNS + GAP) * scale


def _draw_row(digits: list[str]) -> list[int]:
    """The pixels of a row of letters."""
    return [int(pixel) for digit in digits for pixel in f"{int(digit, 32):0{COLUMNS}b}" + "0" * GAP]
