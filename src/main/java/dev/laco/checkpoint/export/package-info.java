/** Checkpoints as GGUF files of llama.cpp: metadata, tokenizer and tensors. */
@NullMarked
package dev.laco.checkpoint.export;

import org.jspecify.annotations.NullMarked;
