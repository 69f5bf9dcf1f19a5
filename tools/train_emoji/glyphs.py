"""Pictures: the bitmaps of Debian's NotoColorEmoji.ttf, found by their CLDR names, composited on white."""

import io
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from recipe import Recipe

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")  # fonts-noto-color-emoji
ANNOTATIONS = Path("/usr/share/unicode/cldr/common/annotations/en.xml")  # unicode-cldr-core
SELECTION = Path(__file__).with_name("glyphs.txt")
FONT_BITMAP_WIDTH = 136


@dataclass
class Glyph:
    name: str
    aliases: list[str]
    character: str = ""
    keywords: list[str] = field(default_factory=list)


def read_annotations(path: Path = ANNOTATIONS) -> dict[str, tuple[str, list[str]]]:
    """CLDR name -> (character, keywords), for emoji that are a single code point."""
    names, keywords = {}, {}
    for annotation in ElementTree.parse(path).getroot().iter("annotation"):
        character = annotation.get("cp").replace("\ufe0f", "")
        if annotation.get("type") == "tts":
            names[character] = annotation.text.strip()
        else:
            keywords[character] = [word.strip() for word in annotation.text.split("|")]
    return {name: (character, keywords.get(character, [])) for character, name in names.items() if len(character) == 1}


def read_selection(annotations: dict, limit: int | None) -> list[Glyph]:
    glyphs = []
    for line in SELECTION.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, aliases = line.partition(" = ")
        if name not in annotations:
            raise SystemExit(f"{SELECTION}: '{name}' is not a name in {ANNOTATIONS}")
        character, keywords = annotations[name]
        glyphs.append(Glyph(name, [a.strip() for a in aliases.split(",") if a.strip()], character, keywords))
    return glyphs[:limit]


def bitmaps(font_path: Path, characters: list[str]) -> list[Image.Image]:
    """The PNGs in the font's CBDT table, RGBA."""
    from fontTools.ttLib import TTFont

    font = TTFont(font_path, lazy=True)
    names, strike = font.getBestCmap(), font["CBDT"].strikeData[0]
    return [Image.open(io.BytesIO(strike[names[ord(c)]].imageData)).convert("RGBA") for c in characters]


def compose(bitmap: Image.Image, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """A bitmap centred on white: picture [R, R, 3] and coverage [R, R], uint8."""
    scale = recipe.glyph_width / FONT_BITMAP_WIDTH
    size = (round(bitmap.width * scale), round(bitmap.height * scale))
    on_white = Image.new("RGBA", bitmap.size, "white")
    on_white.alpha_composite(bitmap)
    corner = ((recipe.resolution - size[0]) // 2, (recipe.resolution - size[1]) // 2)
    picture = Image.new("RGB", (recipe.resolution,) * 2, "white")
    picture.paste(on_white.convert("RGB").resize(size, Image.LANCZOS), corner)
    coverage = Image.new("L", (recipe.resolution,) * 2, 0)
    coverage.paste(bitmap.getchannel("A").resize(size, Image.BOX), corner)
    return np.asarray(picture), np.asarray(coverage)


def make_pictures(glyphs: list[Glyph], recipe: Recipe, font_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """pictures [N, R, R, 3] and coverages [N, R, R], uint8, in the order of `glyphs`."""
    pairs = [compose(bitmap, recipe) for bitmap in bitmaps(font_path, [g.character for g in glyphs])]
    return np.stack([p for p, _ in pairs]), np.stack([c for _, c in pairs])
