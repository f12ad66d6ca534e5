/**
 * Files of {@code torch.save}: a zip archive whose pickle names the tensors; nothing of it is run.
 */
@NullMarked
package dev.laco.checkpoint.torch;

import org.jspecify.annotations.NullMarked;
