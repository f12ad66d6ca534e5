/** Hugging Face checkpoints: safetensors readers and writers. */
@NullMarked
package dev.laco.checkpoint;

import org.jspecify.annotations.NullMarked;
