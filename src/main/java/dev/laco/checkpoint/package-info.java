/**
 * Checkpoints as models: folders of Hugging Face's layout and GGUF files, their weights mapped and
 * pooled; the writer of safetensors.
 */
@NullMarked
package dev.laco.checkpoint;

import org.jspecify.annotations.NullMarked;
