/** Tokenizers of older folders and of GGUF files, as the text of a {@code tokenizer.json}. */
@NullMarked
package dev.laco.checkpoint.tokenizer;

import org.jspecify.annotations.NullMarked;
