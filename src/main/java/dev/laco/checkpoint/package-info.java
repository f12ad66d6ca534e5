/**
 * Hugging Face checkpoints: readers of safetensors and of files of {@code torch.save}, writers of
 * safetensors.
 */
@NullMarked
package dev.laco.checkpoint;

import org.jspecify.annotations.NullMarked;
