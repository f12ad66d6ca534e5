"""Computes logits of GGUF files with llama.cpp, through its C interface (llama.h, of the version in fetch_npm.py)."""

import ctypes
import os

import numpy as np

FLOAT32 = 0  # enum ggml_type
NO_FLASH_ATTENTION = 0  # enum llama_flash_attn_type

pointer, integer, unsigned, real, flag = ctypes.c_void_p, ctypes.c_int32, ctypes.c_uint32, ctypes.c_float, ctypes.c_bool


def structure(name, fields):
    """A structure of llama.h; `fields` has a line for each type, which begins with the type."""
    return type(name, (ctypes.Structure,), {"_fields_": [(field, kind) for kind, *names in fields for field in names]})


ModelParams = structure(
    "llama_model_params",
    [
        (pointer, "devices", "tensor_buft_overrides"),
        (integer, "n_gpu_layers", "split_mode", "load_mode", "lazy_mode", "main_gpu"),
        (pointer, "tensor_split", "progress_callback", "progress_callback_user_data", "kv_overrides"),
        (flag, "vocab_only", "check_tensors", "use_extra_bufts", "no_host", "no_alloc", "load_mtp"),
    ],
)
ContextParams = structure(
    "llama_context_params",
    [
        (unsigned, "n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_rs_seq", "n_outputs_max", "n_outputs_max_per_seq"),
        (integer, "n_threads", "n_threads_batch"),
        (integer, "ctx_type", "rope_scaling_type", "pooling_type", "attention_type", "flash_attn_type"),
        (real, "rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow"),
        (unsigned, "yarn_orig_ctx"),
        (real, "defrag_thold"),
        (pointer, "cb_eval", "cb_eval_user_data"),
        (integer, "type_k", "type_v"),
        (pointer, "abort_callback", "abort_callback_data"),
        (flag, "embeddings", "offload_kqv", "no_perf", "op_offload", "swa_full", "kv_unified"),
        (pointer, "samplers"),
        (ctypes.c_size_t, "n_samplers"),
        (pointer, "ctx_other"),
    ],
)
Batch = structure("llama_batch", [(integer, "n_tokens"), (pointer, "token", "embd", "pos", "n_seq_id", "seq_id", "logits")])
LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, pointer)

# name: (result, arguments…)
FUNCTIONS = {
    "llama_log_set": (None, LogCallback, pointer),
    "llama_backend_init": (None,),
    "llama_model_default_params": (ModelParams,),
    "llama_model_load_from_file": (pointer, ctypes.c_char_p, ModelParams),
    "llama_model_get_vocab": (pointer, pointer),
    "llama_vocab_n_tokens": (integer, pointer),
    "llama_tokenize": (integer, pointer, ctypes.c_char_p, integer, pointer, integer, flag, flag),
    "llama_context_default_params": (ContextParams,),
    "llama_init_from_model": (pointer, pointer, ContextParams),
    "llama_get_memory": (pointer, pointer),
    "llama_memory_clear": (None, pointer, flag),
    "llama_decode": (integer, pointer, Batch),
    "llama_get_logits": (ctypes.POINTER(real), pointer),
    "llama_free": (None, pointer),
    "llama_model_free": (None, pointer),
}


class Refused(Exception):
    """llama.cpp does not open a file, or does not compute it."""


class Library:
    """llama.cpp, loaded from the folder that fetch_npm.py made."""

    def __init__(self, folder):
        library, ggml = (ctypes.CDLL(str(next(folder.glob(f"{name}.v*.so")))) for name in ("libllama", "libggml"))
        for name, (result, *arguments) in FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name.removeprefix("llama_"), function)
        self.said = []
        self._callback = LogCallback(lambda level, text, _: self.said.append(text.decode(errors="replace")))
        self.log_set(self._callback, None)
        ggml.ggml_backend_load_all_from_path(str(folder).encode())
        self.backend_init()

    def logits(self, file, sequences, threads):
        """Logits of every sequence of token ids, [tokens, vocabulary] each, in float32 throughout."""
        model = self._open(file)
        try:
            context = self._context(model, max(map(len, sequences)), threads)
            try:
                width = self.vocab_n_tokens(self.model_get_vocab(model))
                return [self._decode(context, tokens, width) for tokens in sequences]
            finally:
                self.free(context)
        finally:
            self.model_free(model)

    def token_ids(self, file, text):
        """The ids of a text, with those that the model begins with, and with special tokens that the text spells out."""
        model = self._open(file)
        try:
            data = text.encode()
            ids = (integer * (len(data) + 8))()
            count = self.tokenize(self.model_get_vocab(model), data, len(data), ids, len(ids), True, True)
            return ids[:count]
        finally:
            self.model_free(model)

    def _open(self, file):
        self.said.clear()
        return self._or_refused(self.model_load_from_file(os.fsencode(file), self.model_default_params()))

    def _context(self, model, length, threads):
        params = self.context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = length
        params.n_threads = params.n_threads_batch = threads
        params.type_k = params.type_v = FLOAT32
        params.flash_attn_type = NO_FLASH_ATTENTION
        return self._or_refused(self.init_from_model(model, params))

    def _decode(self, context, tokens, width):
        self.memory_clear(self.get_memory(context), True)
        ids, wanted = np.array(tokens, np.int32), np.ones(len(tokens), np.int8)
        batch = Batch(n_tokens=len(tokens), token=ids.ctypes.data, logits=wanted.ctypes.data)
        self._or_refused(self.decode(context, batch) == 0)
        return np.ctypeslib.as_array(self.get_logits(context), (len(tokens), width)).copy()

    def _or_refused(self, result):
        if not result:
            raise Refused("".join(self.said[-4:]))
        return result
