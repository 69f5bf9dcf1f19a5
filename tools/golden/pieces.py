#!/usr/bin/env python3
"""Golden token ids of the sentencepiece family, from transformers 5:

    python tools/golden/pieces.py            writes tests/tokenizers/data/pieces.json.gz and tests/tokenizers/data/llama

T5Tokenizer with emoji-flux's vocabulary, LlamaTokenizer with a small one of byte pairs with byte fallback, trained here on the strings of tokenizer.py.
{"strings": [{"text", "t5", "llama"}], "padded": [{"text", "tokenizer", "length", "ids", "mask"}]}: ids with the special tokens around them; padded and
truncated ones as the pipelines of FLUX and AuraFlow ask for them.
"""

import gzip
import json
import shutil
import tempfile
from pathlib import Path

import sentencepiece
import transformers
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


def main():
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
