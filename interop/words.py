"""Holds the ways to cut a text into words before BPE to llama.cpp and to the library tokenizers, by the `pre_tokenizer` that models have."""

import json
import unicodedata

import checks
import engine
import make_families
import tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
BLANKS = r"|\s+(?!\S)|\s+"
LOWER = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
UPPER = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
PUNCTUATION = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""

DIGITS = {"type": "Digits", "individual_digits": True}

# name that llama.cpp has: (the parts in front of that which makes characters of bytes, whether words that are tokens are not built)
WAYS = {
    "gpt-2": ([], False),
    "smollm": ([DIGITS], False),
    "llama-bpe": ([CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+" + BLANKS], True),
    "dbrx": ([CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+" + BLANKS], False),
    "qwen2": ([CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+" + BLANKS], False),
    "qwen35": ([CONTRACTION + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+" + BLANKS], False),
    "seed-coder": ([CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+" + BLANKS], False),
    "tekken": ([LOWER + "|" + UPPER + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+" + BLANKS], True),
    "gpt-4o": (
        [LOWER + CONTRACTION + "?|" + UPPER + CONTRACTION + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+" + BLANKS],
        False,
    ),
    "deepseek-v3": (
        [
            r"\p{N}{1,3}",
            "[一-龥\u3040-ゟ゠-ヿ]+",
            PUNCTUATION + "[A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+" + BLANKS,
        ],
        False,
    ),
}
# llama.cpp takes combining marks of these for no part of a word.
WITHOUT_MARKS = ("tekken", "gpt-4o")
SIZE = 900


def _pre_tokenizer(parts):
    plain = not parts or parts == [DIGITS]
    of_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": plain}
    split = lambda part: part if isinstance(part, dict) else {"type": "Split", "pattern": {"Regex": part}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [*map(split, parts), of_bytes]} if parts else of_bytes


def _vocabulary(text):
    """A tokenizer whose merges cross the ends of words, so that its ids tell where a text is cut."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=SIZE, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"], show_progress=False)
    made.train_from_iterator([text] * 3, trainer)
    return json.loads(made.to_str())


def check(work, text, llama_cpp):
    """The ids of a text by the engine, from a folder and from its GGUF file, and by llama.cpp, against those of the library."""
    vocabulary = _vocabulary(text.read_text())
    unmarked = "\n".join(line for line in text.read_text().splitlines() if not any(unicodedata.category(c).startswith("M") for c in line))
    for name, (parts, whole_words) in WAYS.items():
        with checks.guarded(f"words {name}"):
            folder, file = work / "words" / name, work / "words" / f"{name}.gguf"
            sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "max_position_embeddings": 8192, "vocab_size": SIZE}
            make_families.make(folder, (LlamaConfig, LlamaForCausalLM), "float32", sizes, seed=1)
            vocabulary["pre_tokenizer"] = _pre_tokenizer(parts)
            vocabulary["model"]["ignore_merges"] = whole_words
            (folder / "model/tokenizer.json").write_text(json.dumps(vocabulary))
            settings = {"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"}
            (folder / "model/tokenizer_config.json").write_text(json.dumps(settings))
            said = engine.export(folder / "model", file)
            checks.check(not said, f"words {name}: written without a warning", said)
            library = tokenizers.Tokenizer.from_str(json.dumps(vocabulary))
            expected = library.encode(text.read_text()).ids
            for what, model in {"folder": folder / "model", "GGUF file": file}.items():
                ids = engine.token_ids(model, text, work / "words.safetensors")
                checks.check(ids == expected, f"words {name}: {len(expected)} token ids of the {what}", len(ids))
            known = unmarked if name in WITHOUT_MARKS else text.read_text()
            expected, ids = library.encode(known).ids, llama_cpp.token_ids(file, known)
            checks.check(ids == expected, f"words {name}: {len(expected)} token ids in llama.cpp", len(ids))
