"""Opens checkpoints as users do, in transformers, and compares what it computes with what the engine computes."""

import contextlib
import logging as python_logging
import math
import re
import warnings

import checks
import remote_code
import torch
from safetensors import safe_open
from transformers import AutoTokenizer
from transformers.utils import logging

LOAD_REPORT = "LOAD REPORT"  # the names of tensors that transformers does not use
NEW_TOKENS = 24  # of a greedy continuation


class _Messages(python_logging.Handler):
    def __init__(self, messages):
        super().__init__(python_logging.WARNING)
        self.messages = messages

    def emit(self, record):
        self.messages.append(record.getMessage())


@contextlib.contextmanager
def captured_warnings():
    """Everything that transformers or Python warns of, also what is said once per process only."""
    messages = []
    handler = _Messages(messages)
    logger = python_logging.getLogger("transformers")
    logging.warning_once.cache_clear()
    logging.disable_default_handler()
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield messages
        messages.extend(str(w.message) for w in caught)
    finally:
        logger.removeHandler(handler)
        logging.enable_default_handler()


def language_model(model):
    """What runs token ids to hidden states: of a model of several kinds of input, a part of it."""
    inner = getattr(model, "model", model)
    return getattr(inner, "language_model", getattr(inner, "text_model", getattr(model, "language_model", inner)))


def decoder_layers(model):
    return next(module for module in language_model(model).modules() if isinstance(module, torch.nn.ModuleList))


def has_softmax(layer):
    """Whether a layer has attention by a softmax: not linear attention, nor a convolution in its place."""
    return not any(hasattr(layer, name) for name in ("linear_attn", "conv"))


class Loaded:
    """A checkpoint opened in float32, with what the loader said about it."""

    def __init__(self, folder, prompt):
        with captured_warnings() as messages:
            self.model, self.info = remote_code.load(folder, output_loading_info=True)
            self.continuation = self.model.generate(torch.tensor([prompt]), max_new_tokens=8, min_new_tokens=8, do_sample=False)
        self.new_tokens = self.continuation.shape[1] - len(prompt)
        self.warnings = {m.replace(str(folder), "MODEL") for m in messages}

    @torch.no_grad()
    def forward(self, tokens):
        """Final hidden states and logits, [tokens, hidden] and [tokens, vocabulary]."""
        # Where layers rotate differently, the parameters are by type of layer; none of those is dynamic.
        if "dynamic" in self.model.config.get_text_config().rope_parameters.get("rope_type", ""):
            # Dynamic NTK keeps the frequencies of the longest sequence so far; we want those of this sequence.
            rotary = self.model.model.rotary_emb
            rotary.inv_freq = rotary.original_inv_freq
            rotary.max_seq_len_cached = rotary.original_max_seq_len
        output = self.model(torch.tensor([tokens]), output_hidden_states=True, use_cache=False)
        return output.hidden_states[-1][0], output.logits[0]


def is_beyond(name, model):
    """Whether a tensor belongs to a layer behind the last one, which predicts tokens beyond the next and is opened for drafts alone."""
    layer = re.match(r"model\.layers\.(\d+)\.", str(name))
    return bool(layer) and int(layer[1]) >= model.config.num_hidden_layers


def check_opens(what, loaded, dense):
    """transformers only warns of tensors that it misses or does not know; here they are errors. Returns whether all is well."""
    problems = {kind: wrong[:3] for kind, names in loaded.info.items() if (wrong := sorted(n for n in names if not is_beyond(n, loaded.model)))}
    opens = checks.check(not problems, f"{what}: transformers finds every tensor and no other", str(problems))
    new = loaded.warnings - dense.warnings
    if any(LOAD_REPORT in said for said in dense.warnings):
        new = {said for said in new if LOAD_REPORT not in said}  # of the tensors that were looked at above
    checks.check(not new, f"{what}: no warning that the dense model does not give", f"{sorted(new)[:1]}")
    return opens & checks.check(loaded.new_tokens == 8, f"{what}: generate runs")


def relative_difference(ours, theirs):
    """The largest difference, in units of the largest magnitude; infinite where shapes differ or a difference is NaN, which max() ignores."""
    if ours.shape != theirs.shape:
        return math.inf
    difference = ((ours.float() - theirs).abs().max() / theirs.abs().max()).item()
    return math.inf if math.isnan(difference) else difference


def negative_log_likelihood(logits, tokens):
    """Sum over all tokens but the first."""
    scores = torch.log_softmax(logits[:-1].double(), dim=-1)
    return -scores.gather(1, torch.tensor(tokens[1:])[:, None]).sum().item()


def check_outputs(what, loaded, sequences, dump, measured, tolerance):
    """Hidden states, logits and mean NLL of both programs on the same token ids."""
    hidden_difference = logits_difference = total = 0.0
    with safe_open(dump, framework="pt") as ours:
        for i, tokens in enumerate(sequences):
            hidden, logits = loaded.forward(tokens)
            hidden_difference = max(hidden_difference, relative_difference(ours.get_tensor(f"{i}.final_hidden"), hidden))
            logits_difference = max(logits_difference, relative_difference(ours.get_tensor(f"{i}.logits"), logits))
            total += negative_log_likelihood(logits, tokens)
    checks.at_most(hidden_difference, tolerance, f"{what}: final hidden states as in transformers")
    checks.at_most(logits_difference, tolerance, f"{what}: logits as in transformers")
    scored = sum(len(tokens) - 1 for tokens in sequences)
    checks.check(measured["tokens"] == scored, f"{what}: {scored} tokens scored", str(measured["tokens"]))
    mean = total / scored
    checks.at_most(abs(measured["meanNll"] / mean - 1), 1e-4, f"{what}: mean NLL {mean:.4f} as in transformers")


def dumped_logits(dump):
    """The logits of each sequence, in a file that the engine wrote."""
    with safe_open(dump, framework="pt") as tensors:
        count = sum(name.endswith(".logits") for name in tensors.keys())
        return [tensors.get_tensor(f"{i}.logits") for i in range(count)]


def check_similarity(what, dense_hidden, pruned, sequences, reported, tolerance):
    """The similarity that the search reports is that of the written model; `dense_hidden` are the original's hidden states."""
    pairs = [(dense.double().flatten(), pruned.forward(s)[0].double().flatten()) for dense, s in zip(dense_hidden, sequences)]
    mean = sum(torch.cosine_similarity(a, b, dim=0).item() for a, b in pairs) / len(pairs)
    checks.at_most(abs(mean - reported), tolerance, f"{what}: reported similarity {reported:.4f} is that of the reloaded model")


def check_text(what, dense, folder, text, ids, prompt, said):
    """Our token ids of a text, and our greedy continuation of a prompt, against transformers'."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    theirs = tokenizer(text)["input_ids"]
    first = next((i for i, (a, b) in enumerate(zip(ids, theirs)) if a != b), min(len(ids), len(theirs)))
    checks.check(ids == theirs, f"{what}: {len(theirs)} token ids as in transformers", f"{len(ids)} ids, first difference at {first}")
    start = tokenizer(prompt, return_tensors="pt")["input_ids"]
    continuation = dense.model.generate(start, max_new_tokens=NEW_TOKENS, do_sample=False)[0, start.shape[1] :]
    written = tokenizer.decode(continuation, skip_special_tokens=True).strip()
    checks.check(bool(written) and written in said, f"{what}: greedy text as in transformers", f"{written!r} is not in {said!r}")
