#!/usr/bin/env python3
"""Golden token ids of the sentencepiece family, from transformers 5:

    python tools/golden/pieces.py            writes tests/tokenizers/data/pieces.json.gz and tests/tokenizers/data/llama
    python tools/golden/pieces.py variants   writes tests/tokenizers/data/piece_variants.json.gz

T5Tokenizer with emoji-flux's vocabulary, LlamaTokenizer with a small one of byte pairs with byte fallback, trained here on the strings of tokenizer.py.
{"strings": [{"text", "t5", "llama"}], "padded": [{"text", "tokenizer", "length", "ids", "mask"}]}: ids with the special tokens around them; padded and
truncated ones as the pipelines of FLUX and AuraFlow ask for them.

The variants are other files beside the same models, or beside tiny ones: [{"name", "class", "copied": files of the two folders, "files": name -> JSON, which
is merged into what is copied, or a model as base64, "texts": [{"text", "ids", "padded", "mask"}]}], padded to 12 (null where the padding token has no name).
"""

import base64
import gzip
import json
import shutil
import sys
import tempfile
from pathlib import Path

import sentencepiece
import transformers
from sentencepiece import sentencepiece_model_pb2
from tokenizer import DATA, strings
from transformers import AddedToken, LlamaTokenizer, T5TokenizerFast

T5 = Path(__file__).resolve().parents[2] / "assets" / "emoji-flux" / "tokenizer_2"
LLAMA = DATA / "llama"


def make_llama(texts) -> LlamaTokenizer:
    shutil.rmtree(LLAMA, ignore_errors=True)
    LLAMA.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([t for t in texts if t.strip() and all(" " <= c < "\u0180" for c in t)]), model_prefix=folder + "/m", vocab_size=900, model_type="bpe", byte_fallback=True,
            character_coverage=1.0, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2)
        shutil.copy(folder + "/m.model", LLAMA / "tokenizer.model")
    extra = [AddedToken(f"<extra_id_{k}>", special=True, normalized=False) for k in range(8)]
    made = LlamaTokenizer.from_pretrained(LLAMA, add_bos_token=False, add_eos_token=True, padding_side="right", additional_special_tokens=extra, pad_token="<extra_id_0>")
    made.save_pretrained(LLAMA)
    return LlamaTokenizer.from_pretrained(LLAMA)


def tiny_model(model_type: int, pieces: list) -> bytes:
    """Pieces with their scores and types: 1 normal, 2 unknown, 3 control, 4 defined by the user, 6 a byte."""
    model = sentencepiece_model_pb2.ModelProto()
    for text, score, kind in pieces:
        model.pieces.add(piece=text, score=score, type=kind)
    model.trainer_spec.model_type, model.trainer_spec.unk_id = model_type, next(i for i, p in enumerate(pieces) if p[2] == 2)
    return model.SerializeToString()


WORDS = [(c, -9.0, 1) for c in "\u2581abcdepr"] + [("\u2581red", -3.0, 1), ("re", -4.0, 1), ("ed", -5.0, 1), ("\u2581a", -2.5, 1)]
TINY_T5 = tiny_model(1, [("<pad>", 0, 3), ("</s>", 0, 3), ("<unk>", 0, 2), *WORDS, ("<ud>", 0, 4), ("<ctl>", 0, 3), *[(f"<0x{b:02X}>", 0, 6) for b in range(256)]])
PAIRS = [("re", -1.0, 1), ("ed", -2.0, 1), ("red", -3.0, 1), ("\u2581red", -4.0, 1), ("ab", -5.0, 1)] + [(c, -9.0, 1) for c in "\u2581abcdepr"]
TINY_LLAMA = tiny_model(2, [("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3), *PAIRS, ("<ud>", 0, 4)])


def typed(content: str, **flags) -> dict:
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True} | flags


def variants():
    """Name, class, the files that are copied, others, texts."""
    texts = ["a red apple", "a</s>b", " a <unk> red", "red<ud>red <ctl> red", "\uff1c\uff53\uff4b\uff53\uff1e <sks> x<sks>y", "re\u65e5\u672cd \u65e5", "<0x41> A", "\u2581red", ""]
    config = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    spiece, whole = [T5 / "spiece.model"], [T5 / "tokenizer.json"]
    count = len(sentencepiece.SentencePieceProcessor(model_file=str(T5 / "spiece.model")))
    decoder = {"0": typed("<pad>"), "1": typed("</s>", lstrip=True), "2": typed("<unk>", rstrip=True)}
    decoder |= {str(count + 99 - i): typed(f"<extra_id_{i}>", lstrip=True, rstrip=True) for i in range(100)}
    extra = ["x <extra_id_0> y", "<extra_id_99>red", "a <extra_id_7>  <extra_id_8> b"]
    yield "t5, its model alone", "T5Tokenizer", spiece, {}, texts + extra
    yield "t5, spaces go with extra ids", "T5Tokenizer", spiece, {"tokenizer_config.json": config | {"added_tokens_decoder": decoder}}, texts + extra
    yield "t5, the config counts before tokenizer.json", "T5Tokenizer", whole, {"tokenizer_config.json": config | {"added_tokens_decoder": decoder}}, texts + extra
    sks = {str(count + 100): typed("<sks>", normalized=True, special=False)}
    yield "t5, a normalised token", "T5Tokenizer", spiece, {"tokenizer_config.json": config | {"added_tokens_decoder": decoder | sks}}, texts
    yield "t5, five extra ids", "T5Tokenizer", spiece, {"tokenizer_config.json": config | {"extra_ids": 5}}, texts + extra
    yield "t5, tokenizer.json counts before its model", "T5Tokenizer", whole, {"spiece.model": TINY_T5}, texts + extra

    stripping = [token | {"lstrip": True} for token in json.loads(whole[0].read_text())["added_tokens"]]
    yield "t5, flags in tokenizer.json", "T5Tokenizer", whole, {"tokenizer.json": {"added_tokens": stripping}}, texts + extra
    yield "t5, a tiny model", "T5Tokenizer", [], {"spiece.model": TINY_T5}, texts
    yield "t5, padded on the left", "T5Tokenizer", spiece, {"tokenizer_config.json": config | {"padding_side": "left"}}, texts
    model, both = [LLAMA / "tokenizer.model"], [LLAMA / "tokenizer.json"]
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    yield "llama, its model alone", "LlamaTokenizer", model, {}, texts
    yield "llama, the config's ends", "LlamaTokenizer", model, {"tokenizer_config.json": named | {"add_bos_token": True, "add_eos_token": True, "padding_side": "right"}}, texts
    yield "llama, padded on the left unless told", "LlamaTokenizer", model, {"tokenizer_config.json": named | {"add_eos_token": True}}, texts
    yield "llama, tokenizer.json's ends before the config's", "LlamaTokenizer", both, {"tokenizer_config.json": named | {"add_bos_token": True, "add_eos_token": False}}, texts

    padding = {"strategy": {"Fixed": 4}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 2, "pad_type_id": 0, "pad_token": "</s>"}
    yield "llama, no ends", "LlamaTokenizer", both, {"tokenizer.json": {"post_processor": None}, "tokenizer_config.json": named}, texts
    yield "llama, tokenizer.json pads", "LlamaTokenizer", both, {"tokenizer.json": {"padding": padding}}, texts
    yield "llama, legacy", "LlamaTokenizer", model, {"tokenizer_config.json": named | {"legacy": True}}, texts
    yield "llama, no prefix", "LlamaTokenizer", both, {"tokenizer_config.json": named | {"add_prefix_space": False}}, texts
    yield "llama, a tiny model without bytes", "LlamaTokenizer", [], {"tokenizer.model": TINY_LLAMA, "tokenizer_config.json": named}, texts


def write_variants():
    out = []
    for name, class_name, copied, files, texts in variants():
        with tempfile.TemporaryDirectory() as folder:
            for path in copied:
                shutil.copy(path, folder)
            for path, content in ((Path(folder) / file, content) for file, content in files.items()):
                if not isinstance(content, bytes):
                    merged = (json.loads(path.read_text()) if path.exists() else {}) | content
                    content = json.dumps({key: value for key, value in merged.items() if value is not None}).encode()
                path.write_bytes(content)
            t = getattr(transformers, class_name).from_pretrained(folder)
        rows = []
        for text in texts:
            padded = t(text, padding="max_length", max_length=12, truncation=True) if t.pad_token else {"input_ids": None, "attention_mask": None}
            rows.append({"text": text, "ids": t(text).input_ids, "padded": padded["input_ids"], "mask": padded["attention_mask"]})
        files = {file: base64.b64encode(content).decode() if isinstance(content, bytes) else content for file, content in files.items()}
        copied = [str(path.relative_to(DATA.parents[2])) for path in copied]
        out.append({"name": name, "class": class_name, "copied": copied, "files": files, "texts": rows})
    text = json.dumps({"made_by": "tools/golden/pieces.py variants", "versions": {"transformers": transformers.__version__}, "variants": out}, separators=(",", ":"))
    (DATA / "piece_variants.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(len(out), "variants")


def main():
    if sys.argv[1:] == ["variants"]:
        return write_variants()
    transformers.logging.set_verbosity_error()
    texts = strings() + ["a <extra_id_0> b", "</s>", "a</s>b", "<pad>x<pad>", "<unk>", "<extra_id_99><extra_id_7>", "a  b   c", "  two spaces", "\u2581x \u2581", "x\u2581y", "<0x41>", "<s>"]
    made = {"t5": T5TokenizerFast.from_pretrained(T5), "llama": make_llama(strings())}
    out = {"made_by": "tools/golden/pieces.py", "versions": {"transformers": transformers.__version__}, "strings": [], "padded": []}
    for text in texts:
        out["strings"].append({"text": text, **{name: t(text).input_ids for name, t in made.items()}})
        for name, t in made.items():
            length = 24
            if len(t(text).input_ids) > length or len(out["padded"]) < 12:
                padded = t(text, padding="max_length", max_length=length, truncation=True)
                out["padded"].append({"text": text, "tokenizer": name, "length": length, "ids": padded.input_ids, "mask": padded.attention_mask})
    (DATA / "pieces.json.gz").write_bytes(gzip.compress(json.dumps(out, separators=(",", ":")).encode(), 9, mtime=0))
    print(len(texts), "strings,", len(out["padded"]), "padded")


if __name__ == "__main__":
    main()
