package dev.laco.transformer;

import dev.laco.backend.SequenceStates;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.LinearAttention;
import dev.laco.model.ModelConfig;
import dev.laco.model.ShortConvolution;
import dev.laco.model.TokenMixer;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * What a layer without a softmax keeps of the earlier tokens of several sequences.
 *
 * @param convolution the inputs of its convolution of the latest tokens
 * @param delta the states of its heads; null where it has no {@link LinearAttention}
 */
record MixerStates(SequenceStates convolution, @Nullable SequenceStates delta) {
  /**
   * Allocates the states of a layer.
   *
   * @param mixer what the layer has in the place of attention
   * @param capacity tokens of a slot
   */
  static MixerStates of(
      TensorArena arena, ModelConfig config, TokenMixer mixer, int slots, int capacity) {
    long inputs = Math.max(1, inputs(config, mixer));
    long delta = delta(config, mixer);
    return new MixerStates(
        new SequenceStates(arena.allocate(DType.F32, slots, inputs), capacity),
        delta == 0 ? null : new SequenceStates(arena.allocate(DType.F32, slots, delta), capacity));
  }

  /** Elements of a slot of a layer; 0 for a layer with a softmax. */
  static long elements(ModelConfig config, TokenMixer mixer) {
    return inputs(config, mixer) + delta(config, mixer);
  }

  private static long inputs(ModelConfig config, TokenMixer mixer) {
    return switch (mixer) {
      case SOFTMAX -> 0;
      case LINEAR_ATTENTION -> {
        LinearAttention sizes = Objects.requireNonNull(config.linearAttention());
        yield (sizes.kernel() - 1) * sizes.heads();
      }
      case CONVOLUTION -> {
        ShortConvolution sizes = Objects.requireNonNull(config.convolution());
        yield (sizes.kernel() - 1L) * sizes.width();
      }
    };
  }

  private static long delta(ModelConfig config, TokenMixer mixer) {
    return mixer == TokenMixer.LINEAR_ATTENTION
        ? LinearHeads.delta(Objects.requireNonNull(config.linearAttention())).states()
        : 0;
  }
}
