"""CLIP's byte-level BPE, learnt from the captions, in the four files of a CLIPTokenizer folder."""

import collections
import json
import re
from pathlib import Path

START, END = "<|startoftext|>", "<|endoftext|>"
# CLIP's word pattern for the letters and digits that occur in English captions.
WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|[^\s\w]+|_+")


def byte_alphabet() -> tuple[list[str], dict[int, str]]:
    """A printable character for each byte, printable bytes standing for themselves: in the order of CLIP's tokens, and by byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    characters = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    return [characters[b] for b in printable + others], characters


def join_pair(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    joined, i = [], 0
    while i < len(word):
        if word[i : i + 2] == pair:
            joined.append(word[i] + word[i + 1])
            i += 2
        else:
            joined.append(word[i])
            i += 1
    return tuple(joined)


def learn_bpe(texts: collections.Counter, size: int) -> tuple[list[str], list[tuple[str, str]]]:
    """tokens (their index is their id) and merges, from texts with their weights; `size` counts the two special tokens."""
    alphabet, characters = byte_alphabet()
    words = collections.Counter()
    for text, weight in texts.items():
        for word in WORDS.findall(text):
            symbols = [characters[b] for b in word.encode("utf-8")]
            words[tuple(symbols[:-1] + [symbols[-1] + "</w>"])] += weight
    tokens = alphabet + [c + "</w>" for c in alphabet]
    known, merges = set(tokens), []
    while len(tokens) < size - 2:
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        if best[0] + best[1] not in known:  # two ways to spell one token
            known.add(best[0] + best[1])
            tokens.append(best[0] + best[1])
        merged = collections.Counter()
        for word, count in words.items():
            merged[join_pair(word, best)] += count
        words = merged
    while len(tokens) < size - 2:  # a small corpus runs out of pairs; ids up to `size` must exist all the same
        tokens.append(f"<|unused{len(tokens)}|>")
    return tokens + [START, END], merges


def write_tokenizer(folder: Path, tokens: list[str], merges: list[tuple[str, str]], pad: str) -> None:
    def special(content: str, normalized: bool = True) -> dict:
        return {"content": content, "lstrip": False, "normalized": normalized, "rstrip": False, "single_word": False}

    def write(file: str, content: dict, **options) -> None:
        (folder / file).write_text(json.dumps(content, **options), encoding="utf-8")

    folder.mkdir(parents=True, exist_ok=True)
    write("vocab.json", {token: i for i, token in enumerate(tokens)}, ensure_ascii=False)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    write("special_tokens_map.json", {"bos_token": special(START), "eos_token": special(END), "pad_token": pad, "unk_token": special(END)}, indent=2)
    added = {tokens.index(t): {**special(t), "special": True} for t in (START, END)}
    if pad not in (START, END):
        added = {tokens.index(pad): {**special(pad, normalized=False), "special": True}, **added}
    config = {
        "add_prefix_space": False,
        "added_tokens_decoder": {str(i): t for i, t in added.items()},
        "bos_token": START,
        "clean_up_tokenization_spaces": True,
        "do_lower_case": True,
        "eos_token": END,
        "errors": "replace",
        "model_max_length": 77,
        "pad_token": pad,
        "tokenizer_class": "CLIPTokenizer",
        "unk_token": END,
    }
    write("tokenizer_config.json", config, indent=2)
