"""Captions: what is said about a glyph, and the phrases around it that should not change the picture."""

import collections
import random
from dataclasses import asdict, dataclass

from glyphs import Glyph

NAME, ALIAS, KEYWORD = 0, 1, 2

TEMPLATES = [
    "{name}",
    "{a_name}",
    "the {name}",
    "{name} emoji",
    "an emoji of {a_name}",
    "a picture of {a_name}",
    "a drawing of {a_name}",
    "a photo of {a_name}",
    "{a_name} on a white background",
    "a cute {name}",
    "{a_name}, emoji style",
    "an icon of {a_name}",
    "clipart of {a_name}",
    "one {name}",
]

# Names that take no "a": plurals, stuff, proper names.
NO_ARTICLE = set(
    """bacon,beer,blueberries,books,bread,broccoli,candy,cheese,cherries,chocolate,clapping hands,coffee,corn,crossed swords,dice,dna,ewe,
fire,folded hands,french fries,fries,garlic,glasses,gloves,grapes,halloween,headphones,heart eyes,high voltage,honey,jeans,laughing,laundry,
lips,milk,money,mount fuji,pancakes,paw print,paw prints,peanuts,planet earth,popcorn,praying hands,santa,santa claus,saturn,scissors,soap,
socks,spaghetti,statue of liberty,strong,sunglasses,sushi,swords,thumbs down,thumbs up,yarn""".replace("\n", "").split(",")
)

BEFORE = """a big,a small,a little,my,a beautiful,a nice,a funny,please draw,show me,a detailed illustration of,a painting of,a simple,a colorful,
cartoon,an image of,one single,the best,a shiny,high quality,vector art of,a sticker of,this is,i want""".replace("\n", "").split(",")
AFTER = """in the middle,on a table,on white,with details,in flat style,high quality,4k,illustration,please,for my friend,looking at you,
in the style of an emoji,on the grass,in the sky,at night,clip art,icon,sticker,symbol,!,.,logo,centered,
and nothing else""".replace("\n", "").split(",")
COLOURS = "red blue green yellow purple orange black white pink golden brown gray silver dark light bright striped".split()
ADJECTIVES = """huge tiny old young happy sad angry cool scared fast slow wooden metal glass fluffy wild evil magic sweet fresh cold hot broken shiny
giant retro modern pretty ugly smiling""".split()
SIZES = "big small little very large".split()
LINKS = """on a,with a,next to a,eating a,holding a,under the,wearing a,and a,in front of a,from a,in a,over the,behind a,looking at a,
inside a""".replace("\n", "").split(",")
PREPOSITIONS = ["in", "on", "at", "of", ",", "with", "as"]
SCENERY = """snow night river street city forest kitchen background watercolor oil painting by van gogh render 3d realistic style of the very some
this his her art pixel retro anime sketch pencil ink minimalist logo photo studio lighting 8k hd unreal engine""".split()
REQUESTS = ["", "", "i would like", "draw", "watercolor of", "oil painting of", "show me", "generate", "a sketch of", "please make"]


@dataclass
class Caption:
    text: str
    glyph: int
    kind: int


def normalise(text: str) -> str:
    return text.lower().replace("\u2019", "'").replace("\u201c", "").replace("\u201d", "")


def with_article(name: str) -> str:
    if name in NO_ARTICLE or name.endswith(" eyes"):
        return name
    vowel = name[0] in "aeiou8" and not name.startswith(("uni", "ufo", "one ", "eu"))
    return ("an " if vowel else "a ") + name


def make_captions(glyphs: list[Glyph]) -> list[Caption]:
    rng = random.Random(0)
    named = {normalise(n) for g in glyphs for n in [g.name, *g.aliases]}
    keyword_uses = collections.Counter(k for g in glyphs for k in {normalise(k) for k in g.keywords})
    captions = []
    for index, glyph in enumerate(glyphs):
        for position, name in enumerate(map(normalise, [glyph.name, *glyph.aliases])):
            kind = NAME if position == 0 else ALIAS
            captions += [Caption(t.format(name=name, a_name=with_article(name)), index, kind) for t in TEMPLATES]
        own_name = normalise(glyph.name)
        keywords = [k for k in map(normalise, glyph.keywords) if k != own_name]
        for keyword in keywords:  # a keyword alone is a caption only where it means this glyph and no other
            if keyword not in named and keyword_uses[keyword] == 1 and len(keyword) > 2:
                captions += [Caption(keyword, index, KEYWORD), Caption(with_article(keyword), index, KEYWORD)]
        if keywords:
            for _ in range(4):
                some = rng.sample(keywords, min(len(keywords), rng.randint(1, 3)))
                captions.append(Caption(", ".join([own_name, *some]), index, KEYWORD))
    return captions


def captions_to_json(glyphs: list[Glyph], captions: list[Caption]) -> dict:
    return {"names": [normalise(g.name) for g in glyphs], "captions": [asdict(c) for c in captions]}


class CaptionSource:
    """Draws captions for training, from the JSON of captions_to_json."""

    def __init__(self, data: dict, seed: int):
        self.names = data["names"]
        self.rng = random.Random(seed)
        self.by_glyph = [{NAME: [], ALIAS: [], KEYWORD: []} for _ in self.names]
        for caption in data["captions"]:
            self.by_glyph[caption["glyph"]][caption["kind"]].append(caption["text"])

    def draw(self, glyph: int) -> str:
        kind = self.rng.choices((NAME, ALIAS, KEYWORD), (0.55, 0.25, 0.2))[0]
        return self.rng.choice(self.by_glyph[glyph][kind] or self.by_glyph[glyph][NAME])

    def with_filler(self, text: str) -> str:
        """The caption among words that add nothing."""
        if self.rng.random() < 0.35:
            return text
        before = self.rng.choice(BEFORE) if self.rng.random() < 0.6 else ""
        after = self.rng.choice(AFTER) if self.rng.random() < 0.6 else ""
        return " ".join(part for part in (before, text, after) if part)

    def invented_word(self) -> str:
        return "".join(self.rng.choice("bcdfghjklmnprstvw") + self.rng.choice("aeiou") for _ in range(self.rng.randint(1, 4)))

    def _qualifiers(self, glyph: int) -> list[str]:
        """Words before the noun that must not move it, unless colour or mood tells this glyph from its neighbours."""
        name = self.names[glyph]
        words = name.split()
        coloured = any(w in name for w in ("heart", "apple", "book")) or any(w in words for w in COLOURS)
        expressive = "face" in name or "cat" in words or name in ("pile of poo", "robot", "ghost", "skull")
        qualifiers = []
        for _ in range(self.rng.randint(0, 2)):
            draw = self.rng.random()
            if draw < 0.5 and not coloured:
                qualifiers.append(self.rng.choice(COLOURS))
            elif draw < 0.8 and not coloured and not expressive:
                qualifiers.append(self.rng.choice(ADJECTIVES))
            elif draw < 0.9:
                qualifiers.append(self.rng.choice(SIZES))
            else:
                qualifiers.append(self.invented_word())
        return qualifiers

    def _scene(self) -> list[str]:
        """Words after the noun: a second noun, scenery, filler or nothing."""
        draw, words = self.rng.random(), []
        if draw < 0.35:
            words = [self.rng.choice(LINKS), self.rng.choice(self.names)]
        elif draw < 0.65:
            words = [self.rng.choice(PREPOSITIONS), *self.rng.choices(SCENERY, k=self.rng.randint(1, 4))]
        elif draw < 0.8:
            words = [self.rng.choice(AFTER)]
        return words + ([self.invented_word()] if self.rng.random() < 0.2 else [])

    def distracted(self, text: str, glyph: int) -> str:
        """The caption with colours, adjectives, unknown words and a second noun that should all be overlooked."""
        words = text.split()
        articles = 0
        while articles < len(words) and words[articles] in ("a", "an", "the", "one"):
            articles += 1
        request = self.rng.choice(REQUESTS) if self.rng.random() < 0.5 else ""
        parts = [request, *words[:articles], *self._qualifiers(glyph), *words[articles:], *self._scene()]
        return " ".join(part for part in parts if part)

    def unet_captions(self, glyph: int) -> list[tuple[str, float]]:
        """A fixed choice of captions for one glyph with their probabilities, small enough to be embedded once."""
        names, aliases, keywords = (self.by_glyph[glyph][kind] for kind in (NAME, ALIAS, KEYWORD))
        groups = [
            (0.55, names),
            (0.20, self.rng.sample(aliases, min(6, len(aliases)))),
            (0.10, self.rng.sample(keywords, min(4, len(keywords)))),
            (0.15, [self.with_filler(self.rng.choice(names + aliases)) for _ in range(5)]),
        ]
        total = sum(weight for weight, texts in groups if texts)
        return [(text, weight / len(texts) / total) for weight, texts in groups for text in texts]
