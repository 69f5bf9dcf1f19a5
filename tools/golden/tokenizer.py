"""Golden file of CLIP's tokenizer: what transformers' CLIPTokenizer makes of more than a thousand strings.

    pip install transformers open_clip_torch
    python tools/golden/tokenizer.py            # replaces tests/tokenizers/data and assets/tokenizers/clip

Writes CLIP's merges (the first 48,894 of open_clip's bpe_simple_vocab_16e6.txt.gz) and the vocabulary that follows from them: the 256 bytes, the 256 bytes
with </w>, one token a merge, <|startoftext|>, <|endoftext|>. And
  golden.json.gz      "tokenizers": name -> the files beside vocab.json and merges.txt ("clip*": CLIP's vocabulary, "small*": assets/emoji-xl)
                      "strings": text and, a tokenizer each, input_ids without padding and truncation ("clip_2" left out where it equals "clip")
                      "padded": padding="max_length", truncation=True; "removed" is the text that Diffusers' warning quotes
                      "decoded": decode of any ids, with and without the special tokens
                      "bytes": input that is not UTF-8 (hex), read with errors="replace"
                      "variants": other configurations on the small vocabulary
                      "unicode": class, lower case and NFC of every code point: [first, class] runs, [from, text], [from, text]
"""

import gzip
import json
import pathlib
import random
import shutil
import sys
import tempfile
import unicodedata

import open_clip
import tokenizers
import transformers
from tokenizers import Regex, normalizers, pre_tokenizers
from transformers import CLIPTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/tokenizers/data"
CLIP = ROOT / "assets/tokenizers/clip"
SMALL = ROOT / "assets/emoji-xl"
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
FLAGS = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}


def token(content, **flags):
    return {"content": content, **FLAGS, **flags}


def typed(content, **flags):
    return {"__type": "AddedToken", **token(content, **flags)}


def byte_characters():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(0x100 + i) for i in range(len(others))]


def clip_vocabulary():
    path = pathlib.Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    merges = gzip.open(path).read().decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    single = byte_characters()
    tokens = single + [c + "</w>" for c in single] + ["".join(m.split()) for m in merges] + [BOS, EOS]
    assert len(tokens) == 49408
    return {t: i for i, t in enumerate(tokens)}, "\n".join(["#version: 0.2", *merges]) + "\n"


def load(vocab, merges, files):
    """A CLIPTokenizer from a folder with these files; vocab and merges are texts."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "vocab.json").write_text(vocab)
        (folder / "merges.txt").write_text(merges)
        for name, content in files.items():
            (folder / name).write_text(json.dumps(content))
        return CLIPTokenizer.from_pretrained(folder)


# The files of stabilityai/stable-diffusion-xl-base-1.0 look like the first, those that transformers 4.40 and later write like the second.
OLD_FILES = {
    "tokenizer_config.json": {
        "add_prefix_space": False, "bos_token": typed(BOS), "do_lower_case": True, "eos_token": typed(EOS), "errors": "replace",
        "model_max_length": 77, "pad_token": EOS, "tokenizer_class": "CLIPTokenizer", "unk_token": typed(EOS)},
    "special_tokens_map.json": {"bos_token": token(BOS), "eos_token": token(EOS), "pad_token": EOS, "unk_token": token(EOS)},
}
NEW_FILES = {
    "tokenizer_config.json": {
        "add_prefix_space": False, "bos_token": BOS, "eos_token": EOS, "pad_token": "!", "unk_token": EOS, "model_max_length": 77,
        "added_tokens_decoder": {
            "0": token("!", normalized=False, special=True), "49406": token(BOS, special=True), "49407": token(EOS, special=True)}},
}


def variants():
    """Name, files and probe texts; all on the small vocabulary."""
    probes = ["a !! b", "<|STARTOFTEXT|> x <|EndOfText|>", "a<sks>B <SKS> c", "!<|startoftext|>!", "red apple"]
    named = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": "!", "model_max_length": 77}
    decoder = {"1534": token(BOS, special=True), "1535": token(EOS, special=True)}
    old_config = {**OLD_FILES["tokenizer_config.json"]}
    yield "no files", {}, probes
    yield "old", OLD_FILES, probes
    yield "old, pad !", {
        "tokenizer_config.json": {**old_config, "pad_token": "!"},
        "special_tokens_map.json": {**OLD_FILES["special_tokens_map.json"], "pad_token": "!"}}, probes
    yield "old, config alone", {"tokenizer_config.json": {**old_config, "pad_token": "!"}}, probes
    yield "map overrides config", {"tokenizer_config.json": named, "special_tokens_map.json": {"pad_token": token(EOS)}}, probes
    yield "strings", {"tokenizer_config.json": named}, probes
    yield "added_tokens.json", {"tokenizer_config.json": named, "added_tokens.json": {"<Foo>": 1600, "<sks>": 1536}}, [*probes, "<foo> <FOO>"]
    yield "decoder, other id", {
        "tokenizer_config.json": {**named, "added_tokens_decoder": {**decoder, "1600": token("<SKS>", special=False)}}}, probes
    yield "decoder silences the map", {
        "tokenizer_config.json": {**named, "pad_token": EOS, "added_tokens_decoder": decoder}, "special_tokens_map.json": {"pad_token": "!"}}, probes
    yield "further special tokens", {"tokenizer_config.json": {**named, "additional_special_tokens": ["<sks>", "<sks>x"]}}, [*probes, "<sks>x<sks>y"]
    yield "mask and cls", {"tokenizer_config.json": {**named, "mask_token": "red", "cls_token": "app"}}, probes
    yield "a shorter length", {"tokenizer_config.json": {**named, "model_max_length": 8}}, ["a b c d e f g h i j", "a"]
    flags = {"1536": token("<w>", single_word=True, special=False), "1537": token("<l>", lstrip=True, special=False),
             "1538": token("<r>", rstrip=True, special=False), "1539": token("Caf\u00e9 Bar", special=False),
             "1540": token("<n>", normalized=False, rstrip=True, special=False), "1541": token("<n>n", normalized=False, special=True)}
    texts = ["a <w> b", "a<w>b", "<w>", "a<w>", "<w>b", "\u00e9<w>", "_<w>", "!<w>!", "a  <l>  b", "a <l><l> b", " <l>", "a  <r>  b", "a<r> <r> b",
        "<r> ",
             "the cafe\u0301  BAR caf\u00e9 bar CAF\u00c9 bar", "x <n>  y <N> <n>n z", "<n> <l>", "<r> <l> <w>", "\u3000<l>\u3000<r>\u3000<w>\u3000"]
    yield "flags", {"tokenizer_config.json": {**named, "added_tokens_decoder": {**decoder, **flags}}}, texts
    odd = {"1536": token("H \u20ac", special=False), "1537": token("CAF\u00c9", special=False), "1538": token("CAF\u00c9 2", normalized=False),
           "1539": token("CAF\u00c93", normalized=False), "1540": token("apple</w>", special=False)}
    texts = ["H \u20ac h\u20ac", "cafe\u0301 Caf\u00e9", "CAF\u00c9 2 caf\u00e9 2", "CAF\u00c93 caf\u00e93", "apple apple</w>"]
    yield "spelling", {"tokenizer_config.json": {**named, "added_tokens_decoder": {**decoder, **odd}}}, texts


PROMPTS = """a red apple|A photo of a cat|Astronaut in a jungle, cold color palette, muted colors, detailed, 8k
a photo of an astronaut riding a horse on mars|masterpiece, best quality, 1girl, (solo:1.2), [blue|green] eyes, <lora:foo:0.8>
An oil painting in the style of Vincent van Gogh's "Starry Night"|((very)) detailed!!! ultra-realistic, f/1.8, 35mm, ISO-100, 1920x1080
it's, they're, we've, I'm, he'll, she'd, don't, rock'n'roll, 'tis, O'Brien's|IT'S THEY'RE WE'VE I'M HE'LL SHE'D DON'T|'s't're've'm'll'd
''s|'''t
x'y's z'REd|’s ’t it’s|`s ´t|can't've|y'all'd've|the '90s|5'10\"|'|''|'s|'S|'sale|s'|3.14159|1,000,000|2024-01-31T12:34:56Z|0x1F600
user@example.com https://example.com/a?b=c&d=%20#e|C:\\Users\\me|/usr/bin/env|a_b_c __init__
#hashtag @mention $100 50% a&b a*b a+b=c a<b>c|~`^|{}[]()<>|\\n \\t
...|…|--|—|–|?!|!?|!|!!|!!!|!!!!|!!!!!!!!!!|! !|a!|!a|a!b|a !b|a! b|hello!world|wow!!!great!!|!\u0301|¡hola!|!<|endoftext|>!|!1!2!3
<|startoftext|>|<|endoftext|>|<|STARTOFTEXT|>|<|EndOfText|>|a<|startoftext|>b|a <|endoftext|> b|<|startoftext|><|endoftext|>
<|endoftext|><|endoftext|>|<|startoftext|
startoftext|>|<startoftext>|< |endoftext|>|<||endoftext||>|!<|startoftext|>|<|startoftext|>!|é<|endoftext|>\u0301|<|endof text|>|</w>
a</w>b|<w>|[PAD]|[CLS]|<pad>
The quick brown fox jumps over the lazy dog. 0123456789|supercalifragilisticexpialidocious|pneumonoultramicroscopicsilicovolcanoconiosis
AAAAAAAAAAAAAAAAAAAAAAAA
html &amp; entities &lt;b&gt; &#39;|café naïve résumé|Cafe\u0301 nai\u0308ve|Straße STRASSE ẞ|ﬁne ﬂow oﬃce|Ǆ ǅ ǆ Ǳ
İstanbul ısı I\u0307|Σίσυφος ΟΔΟΣ Σ|ᾈ ᾼ ᾀ|Å Å A\u030a|Ω Ω|K K|ẛ\u0323|Ⅰ ⅰ Ⓐ ⓐ
ᎠᎡ ꭰ|Აა|𐐀𐐨|Ꙁ|\u0345|α\u0345|x\u0327\u0301 x\u0301\u0327|q\u0307\u0323 q\u0323\u0307|한 한|क़ क\u093c|\u0344|⫝̸
½ ² ₂ ① ㊀ ٤ ४ ௧ ꘠ 𝟘|1½ 10² x²y³|١٢٣|८९|１２ＡＢａ|Ⅿↈ""".replace("<|", "\0").replace("|>", "\1")

SENTENCES = [
    "Рыжий кот сидит на окне.",
    "Їжак і ґазда",
    "Μια κόκκινη γάτας στον ήλιο",
    "一只红色的猫坐在屋顶上，月亮很圆。",
    "赤い猫が屋根の上に座っている。カタカナ\u30fc",
    "ｶﾀｶﾅ ﾊ\uff9eﾊ\uff9f", "빨간 고양이가 지붕 위에 앉아 있다.",
    "قطة حمراء تجلس على السطح، والقمر بدر.", "ب\u0650س\u0652م\u0650 ٱلل\u0651\u064eه\u0650", "یک گربه\u200cی قرمز", "חתול אדום על הגג",
    "ב\u05bc\u05b0ר\u05b5אש\u05c1\u05b4ית",
    "एक ल\u093eल ब\u093fल\u094dल\u0940 छत पर ब\u0948ठ\u0940 ह\u0948।",
    "ক\u09cdষ ব\u09be\u0982ল\u09be", "தம\u0bbfழ\u0bcd ப\u0bc2ன\u0bc8",
    "แมวส\u0e35แดงน\u0e31\u0e48งอย\u0e39\u0e48บนหล\u0e31งคา", "Một con mèo đỏ ngồi trên mái nhà", "Mo\u0323\u0302t con me\u0300o",
    "Kırmızı bir kedi çatıda İŞTE", "Czerwony kot siedzi na dachu ĄĘŁÓŻŹ",
    "Una gata roja, ¿dónde está? ¡Aquí!", "Une étagère œuvre «\u00a0guillemets\u00a0»",
    "ለሰላም ዓለም", "მწვანე ᲛᲜ", "Արև և",
    "က\u103b\u103dန\u103a\u102fပ\u103a", "ខ\u17d2ម\u17c2រ", "བ\u0f7cད་ས\u0f90ད་",
    "ꆈꌠ", "ⲀⲁⲂ", "ᚠᚢᚦ", "𒀀𒀁", "𓀀𓀁", "𝐀𝔞 𝟎",
    "𠀀𪛖𰀀",
    "\u200bzero\u200bwidth\u200cnon\u200djoin\u2060er\ufeff", "\u202eright to left\u202c", "\u00adsoft\u00adhyphen", "\ufffd \ufffc \ufffe",
    "\U000e0001\U000e0041", "\ue000\uf8ff\U000f0000\U0010ffff", "a\u034fb", "\u2028line\u2029para", "\u0600\u0601", "\u180e\u1680",
    "àáâãäå ÀÁÂÃÄÅ", "←→⇔ ∀∃∅∑√∞",
    "€£¥₿¢", "─│█░", "♫♥♠✓✔\ufe0f", "©®™", "x\u0489y",
    "Z\u0351\u036b\u0343a\u0328\u0321l\u0321\u0334g\u0340\u0300o\u0315",
]

EMOJI = [
    "😀", "👨\u200d👩\u200d👧\u200d👦", "👩🏽\u200d🚀",
    "🏳\ufe0f\u200d🌈", "🇩🇪", "🇺🇸🇫🇷", "1\ufe0f\u20e3", "#\ufe0f\u20e3",
    "❤\ufe0f", "❤",
    "❤\ufe0f\u200d🔥", "👍🏿", "👍🏻👍",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "🧑\u200d🤝\u200d🧑", "\U0001fae8\U0001fabf",
    "☺\ufe0f", "©\ufe0f", "🐈\u200d⬛", "🐻\u200d❄\ufe0f",
]

SPACES = [0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0x1F, 0x20, 0x85, 0xA0, 0x1680, 0x180E, *range(0x2000, 0x200C), 0x2028, 0x2029, 0x202F,
          0x205F,
          0x2060, 0x3000, 0xFEFF]

# Blocks to draw random strings from; each with the plain letters in between.
BLOCKS = [(0x20, 0x7E), (0xA0, 0x17F), (0x180, 0x24F), (0x250, 0x2AF), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x531, 0x58A), (0x591, 0x5F4),
          (0x600, 0x6FF), (0x700, 0x74A), (0x780, 0x7B1), (0x8A0, 0x8FF), (0x900, 0x97F), (0x980, 0x9FE), (0xA00, 0xA75), (0xB80, 0xBFA), (0xC00,
          0xC7F),
          (0xD00, 0xD7F), (0xE01, 0xE5B), (0xE80, 0xEDF), (0xF00, 0xFDA), (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x13A0, 0x13FD),
          (0x1700, 0x1734), (0x1780, 0x17F9), (0x1AB0, 0x1ACE), (0x1C80, 0x1CBF), (0x1DC0, 0x1DFF), (0x1E00, 0x1EFF), (0x1F00, 0x1FFE), (0x2000,
          0x206F),
          (0x2070, 0x20BF), (0x20D0, 0x20F0), (0x2100, 0x218B), (0x2200, 0x22FF), (0x2460, 0x24FF), (0x2600, 0x27BF), (0x2C00, 0x2DFF), (0x3000,
          0x30FF),
          (0x3130, 0x318E), (0x3200, 0x33FF), (0x4E00, 0x4FFF), (0x9F00, 0x9FFF), (0xA640, 0xA69F), (0xA720, 0xA7FF), (0xA880, 0xA8D9), (0xAB30,
          0xABF9),
          (0xAC00, 0xD7A3), (0xF900, 0xFAD9), (0xFB00, 0xFB4F), (0xFB50, 0xFDFF), (0xFE00, 0xFE6B), (0xFF01, 0xFFEE), (0x10400, 0x1044F), (0x104B0,
          0x104FB),
          (0x10D00, 0x10D8F), (0x11080, 0x110C2), (0x11130, 0x11147), (0x11930, 0x11946), (0x16E40, 0x16E9A), (0x16EA0, 0x16EB8), (0x1D15E, 0x1D1C0),
          (0x1D400, 0x1D7FF), (0x1E900, 0x1E95F), (0x1F100, 0x1F1FF), (0x1F300, 0x1F64F), (0x1F900, 0x1F9FF), (0x20000, 0x200FF), (0x2EBF0, 0x2EE5D),
          (0x2F800, 0x2FA1D), (0xE0001, 0xE007F)]


def strings():
    rng = random.Random(20240131)
    texts = ["", " ", "  ", "\n", "\t \n", "\0", "a\0b"]
    texts += [t.replace("\0", "<|").replace("\1", "|>") for line in PROMPTS.split("\n") for t in line.split("|")]
    texts += SENTENCES + [s.upper() for s in SENTENCES] + [unicodedata.normalize("NFD", s) for s in SENTENCES[:24]]
    texts += EMOJI + [f"a {e} b" for e in EMOJI] + [e + f for e, f in zip(EMOJI, EMOJI[1:])] + [f"x{e}'s" for e in EMOJI]
    for c in map(chr, SPACES):
        texts += [f"red{c}apple", f"{c}a{c}{c} b{c}", f"\u00e9{c}\u0301!{c}!"]
    texts += [f"a{chr(c)}b{chr(c)}" for c in [*range(0x00, 0x20), *range(0x7F, 0xA0)]]
    names = (SMALL / "names.txt").read_text().split("\n")
    texts += [n for n in rng.sample(names, 60)] + [n.title() + rng.choice("!.?,") for n in rng.sample(names, 30)]
    words = "a the red BLUE Green photo of cat dog's apple, tree! sky? 8k 4K 35mm ultra-detailed 'tis isn't <|endoftext|> ! !! café 😀 猫".split()
    texts += [" ".join(rng.choices(words, k=rng.randint(2, 20))) for _ in range(80)]
    texts += ["".join(rng.choices(words, k=rng.randint(2, 12))) for _ in range(60)]
    texts += [" ".join(rng.choices(words, k=k)) for k in range(70, 100, 2)]  # around the length of 77 and above
    texts += ["a " * k for k in (74, 75, 76, 77, 200)] + ["\U0001f468\u200d\U0001f469\u200d\U0001f467" * 20, "!" * 100, "1" * 90, "\u732b" * 60,
        "x" * 500]
    for first, last in BLOCKS:
        for length in (4, 9, 16):
            chars = [chr(rng.randint(first, last)) for _ in range(length)]
            texts.append("".join(c if rng.random() < 0.8 else rng.choice("aA e1'! \u0301\u0327") for c in chars))
    marks = [chr(c) for c in [*range(0x300, 0x370), *range(0x591, 0x5BD), *range(0x64B, 0x660), 0x93C, 0x94D, 0x9BE, 0x9D7, 0x3099, 0x309A,
        0x1D165, 0x1D16E]]
    bases = list("aAeEiIoOuUcCnNsSzZqx") + ["\u0627", "\u0915", "\u09c7", "\u304b", "\u05d0", "\u1112", "\u1161", "\u11a8", "\uac00", "\U0001d157"]
    texts += ["".join(rng.choice(bases) + "".join(rng.choices(marks, k=rng.randint(0, 4))) for _ in range(4)) for _ in range(80)]
    planes = [chr(c) for c in range(0x20, 0x110000) if unicodedata.category(chr(c)) not in ("Cs", "Cn", "Co")]
    texts += ["".join(rng.choices(planes, k=rng.randint(1, 12))) for _ in range(80)]
    return list(dict.fromkeys(texts))


def runs(pattern, code_points):
    split = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True)
    return {c for c in code_points if split.pre_tokenize_str(chr(c))}


def unicode_tables():
    code_points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    letters, numbers, spaces = (runs(p, code_points) for p in (r"\p{L}", r"\p{N}", r"\s"))
    classes = []
    for c in range(0x110000):
        kind = "L" if c in letters else "N" if c in numbers else "S" if c in spaces else "O"
        if not classes or classes[-1][1] != kind:
            classes.append([c, kind])
    changed = lambda n: [[c, n.normalize_str(chr(c))] for c in code_points if n.normalize_str(chr(c)) != chr(c)]
    return {"classes": classes, "lower": changed(normalizers.Lowercase()), "nfc": changed(normalizers.NFC())}


def main():
    transformers.logging.set_verbosity_error()
    vocab, merges = clip_vocabulary()
    small_files = [(SMALL / "tokenizer" / f).read_text() for f in ("vocab.json", "merges.txt")]
    made = {"clip": load(json.dumps(vocab), merges, OLD_FILES), "clip_2": load(json.dumps(vocab), merges, NEW_FILES),
            "small": CLIPTokenizer.from_pretrained(SMALL / "tokenizer"), "small_2": CLIPTokenizer.from_pretrained(SMALL / "tokenizer_2")}
    assert made["clip"]("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]

    out = {"made_by": "tools/golden/tokenizer.py", "versions": {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__},
           "tokenizers": {"clip": OLD_FILES, "clip_2": NEW_FILES}, "strings": [], "padded": [], "decoded": [], "bytes": [], "variants": []}
    texts = strings()
    for text in texts:
        ids = {name: t(text).input_ids for name, t in made.items()}
        if ids["clip_2"] == ids["clip"]:
            del ids["clip_2"]
        out["strings"].append({"text": text, **ids})
        for name, t in made.items():
            padded = t(text, padding="max_length", max_length=t.model_max_length, truncation=True).input_ids
            whole = t(text).input_ids
            assert padded == (whole[:76] + whole[-1:] if len(whole) > 77 else whole + [t.pad_token_id] * (77 - len(whole)))
            if len(whole) > 77 or len(out["padded"]) < 12:
                out["padded"].append({"text": text, "tokenizer": name, "ids": padded, "removed": t.decode(whole[76:-1])})
    rng = random.Random(7)
    for i in range(200):
        name, t = rng.choice(list(made.items()))
        ids = [rng.randrange(len(t)) for _ in range(rng.randint(0, 12))] if i % 2 else rng.choice(out["strings"]).get(name, [0])
        out["decoded"].append({"tokenizer": name, "ids": ids, "text": t.decode(ids), "skipped": t.decode(ids, skip_special_tokens=True)})
    broken = [b"caf\xe9", b"\xff\xfe", b"a\x80b", b"\xc3", b"\xe2\x82", b"\xe2\x82x", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf",
        b"\xe0\x80\xaf", b"\xf4\x90\x80\x80",
              b"\xf8\x88\x80\x80\x80", b"ok \xf0\x9f\x98\x80 \xf0\x9f", b"\xc3\xc3\xa9"] + [rng.randbytes(rng.randint(1, 24)) for _ in range(50)]
    for raw in broken:
        out["bytes"].append({"hex": raw.hex(), "ids": made["clip"](raw.decode("utf-8", "replace")).input_ids})
    for name, files, probes in variants():
        t = load(*small_files, files)
        cases = [{"text": p, "ids": t(p).input_ids, "decoded": t.decode(t(p).input_ids)} for p in probes]
        limit = t.model_max_length if t.model_max_length < 1e6 else 77
        padded = t(probes[0], padding="max_length", max_length=limit, truncation=True).input_ids
        out["variants"].append({"name": name, "files": files, "cases": cases, "padded": padded})
    out["unicode"] = unicode_tables()

    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    (DATA / "golden.json.gz").write_bytes(gzip.compress(json.dumps(out, separators=(",", ":")).encode(), 9, mtime=0))
    (CLIP / "merges.txt").write_text(merges)
    (CLIP / "vocab.json").write_text(json.dumps(vocab, separators=(",", ":"), ensure_ascii=False))
    print(f"{len(texts)} strings, {len(out['padded'])} padded, {len(out['decoded'])} decoded, {len(out['variants'])} variants")


if __name__ == "__main__":
    sys.exit(main())
