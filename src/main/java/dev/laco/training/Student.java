package dev.laco.training;

import dev.laco.transformer.LayerStack;
import dev.laco.transformer.RunningModel;

/**
 * A pruned model that is to be trained.
 *
 * @param outside its embedding, final norm and head
 * @param layers its layers
 * @param first the first layer that is trained; the layers in front of it are those of the
 *     original, with the same numbers, so that the original and the pruned model share their hidden
 *     states
 */
public record Student(RunningModel outside, LayerStack layers, int first) {
  public Student {
    if (first < 0 || first >= layers.depth()) {
      throw new IllegalArgumentException("layer " + first + " of " + layers.depth());
    }
  }
}
