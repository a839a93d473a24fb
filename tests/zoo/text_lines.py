"""Rendered lines of text whose truth is known, as the PP-OCRv4 recogniser wants them.

    python -m tests.zoo.text_lines OUT.npz --count 64 --seed 1 --fonts FOLDER...

The truth is written beside it, one line each, as OUT.txt. Fonts are TrueType or OpenType files of
the folders given, else of the font packages of tests/zoo/packages.txt. Lines differ in font,
size, colours, slant, blur and noise; the same seed and fonts give the same lines.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from tests.zoo.packages import INSTALL, MissingPackage

HEIGHT, WIDTH = 48, 320
FONT_PACKAGES = ("font_roboto", "font_caladea", "font_manrope", "font_source_serif_pro")
Floats = npt.NDArray[np.float32]
Colour = tuple[int, ...]

_LONGEST = 9.0  # widest text, in font sizes: with the height filled it is about 320 pixels wide
# Weights that a printed page or a sign uses; hair lines and ultra black are another problem.
_STYLES = frozenset({"Regular", "Medium", "Bold", "Italic", "SemiBold", "Semibold"})
_VOCABULARY = (
    "about above account across after again against agree allow amount animal answer appear "
    "area arrive ask autumn balance bank basket bear become before behind believe between "
    "bird board book bottle box branch bread bridge bring brother build business calm camera "
    "careful carry castle centre chair change cheese circle city clean clock cloud coast "
    "collect common copper corner country cover dance danger daughter decide deliver desk "
    "different dinner distance doctor double dream drink early earth electric engine enough "
    "evening example expect family farm father field figure final finger follow forest "
    "forward friend garden glass gold grass green ground group guide hammer harbour heavy "
    "history hotel hour house hundred ice important industry inside iron island journey judge "
    "keep kitchen knife ladder language late letter library light listen machine market "
    "master measure metal middle milk minute modern month morning mountain music narrow "
    "nation night north number ocean office orange order paper parcel past people picture "
    "plain plant pocket police powder present price printer public quality quarter question "
    "quick rain reason record regular repeat report return river road sail school science "
    "season second shape shelf silver simple skirt small south spring square station steam "
    "stone street strong sugar summer surface table teacher theory thousand ticket together "
    "tomorrow train travel uncle under valley value village visit voice walk warm water "
    "weather week winter wonder yellow young"
)
_WORDS = tuple(_VOCABULARY.split())


@dataclass(frozen=True)
class TextLine:
    """A picture, float32 [3, 48, 320] in [-1, 1], and what is written on it."""

    pixels: Floats
    text: str


def find_fonts(folders: Iterable[Path] = ()) -> list[Path]:
    """Font files of ordinary styles: of ``folders``, else of the font packages, by name.

    Raises MissingPackage where there is none.
    """
    folders = list(folders) or _package_folders()
    files = [f for folder in folders for f in folder.rglob("*") if f.suffix in (".ttf", ".otf")]
    chosen = [file for file in files if _style(file) in _STYLES]
    if not chosen:
        raise MissingPackage(f"no fonts in {', '.join(map(str, folders)) or 'packages'}; {INSTALL}")
    return sorted(chosen, key=lambda file: file.name)


def render_lines(count: int, seed: int, fonts: Sequence[Path]) -> list[TextLine]:
    """``count`` lines, the same for the same ``seed`` and ``fonts``."""
    random = np.random.default_rng(seed)
    return [_render(random, fonts) for _ in range(count)]


def _package_folders() -> list[Path]:
    specs = [find_spec(name) for name in FONT_PACKAGES]
    return [Path(f) for spec in specs if spec for f in spec.submodule_search_locations or ()]


def _style(file: Path) -> str:
    """``Bold`` of ``Roboto-Bold.ttf``; a name without a style is a regular one."""
    return file.stem.partition("-")[2] or "Regular"


def _render(random: np.random.Generator, fonts: Sequence[Path]) -> TextLine:
    """One line, as a text detector would cut it out of a page."""
    path = str(fonts[random.integers(len(fonts))])
    font = ImageFont.truetype(path, int(random.integers(28, 61)))
    text = _fitting_text(random, font)
    image = _cut(random, text, font)
    width = min(WIDTH, round(image.width * HEIGHT / image.height))
    image = image.resize((width, HEIGHT), Image.Resampling.BILINEAR)
    image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.0, 1.4)))
    noise = random.normal(0, random.uniform(0, 30), (HEIGHT, width, 3))
    noisy = np.clip(np.rint(np.asarray(image, np.float32) + noise), 0, 255).astype(np.uint8)
    pixels = np.zeros((3, HEIGHT, WIDTH), np.float32)  # PP-OCR fills the rest with mid-grey
    pixels[:, :, :width] = normalise(noisy)
    return TextLine(pixels, text)


def _cut(random: np.random.Generator, text: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """``text`` in its colours, slightly turned, with little paper around it."""
    ink, paper = _colours(random)
    left, top, right, bottom = font.getbbox(text)
    edge = round(font.size * random.uniform(0.12, 0.25))
    size = (round(right - left) + 2 * edge, round(bottom - top) + 2 * edge)
    image = Image.new("RGB", size, paper)
    ImageDraw.Draw(image).text((edge - left, edge - top), text, ink, font)
    angle = random.uniform(-3.0, 3.0)
    return image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=paper)


def normalise(rgb: npt.NDArray[np.uint8]) -> Floats:
    """``(bgr / 255 - 0.5) / 0.5``, [h, w, 3] to [3, h, w]: PP-OCR was trained on OpenCV's order."""
    half = np.float32(0.5)
    scaled = (rgb[..., ::-1].astype(np.float32) / np.float32(255) - half) / half
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def _fitting_text(random: np.random.Generator, font: ImageFont.FreeTypeFont) -> str:
    """Words and numbers: as many of one to four as fit the picture when they fill its height."""
    words = [_token(random) for _ in range(random.integers(1, 5))]
    while len(words) > 1 and font.getlength(" ".join(words)) > _LONGEST * font.size:
        words.pop()
    return " ".join(words)


def _token(random: np.random.Generator) -> str:
    """Mostly a word, written as at the start of a sentence, in capitals, or small; or a number."""
    kind = random.integers(10)
    if kind == 0:
        return str(random.integers(10, 100_000))
    if kind == 1:
        return f"{random.integers(1, 1000)}.{random.integers(10, 100)}"
    word = _WORDS[random.integers(len(_WORDS))]
    return {2: word.upper(), 3: word.capitalize(), 4: word.capitalize()}.get(int(kind), word)


def _colours(random: np.random.Generator) -> tuple[Colour, Colour]:
    """Ink and paper, far apart; one picture in five is light on dark."""
    dark = tuple(random.integers(0, 110, 3).tolist())
    light = tuple(random.integers(145, 256, 3).tolist())
    return (light, dark) if random.random() < 0.2 else (dark, light)


def main() -> None:
    """Write the pictures under the name of the recogniser's input, the truth as text."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.text_lines", description=__doc__)
    parser.add_argument("output", type=Path, metavar="OUT.npz")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fonts", type=Path, nargs="*", default=[], metavar="FOLDER")
    arguments = parser.parse_args()
    lines = render_lines(arguments.count, arguments.seed, find_fonts(arguments.fonts))
    np.savez(arguments.output, x=np.stack([line.pixels for line in lines]))
    truth = "".join(f"{line.text}\n" for line in lines)
    arguments.output.with_suffix(".txt").write_text(truth, encoding="utf-8")


if __name__ == "__main__":
    main()
