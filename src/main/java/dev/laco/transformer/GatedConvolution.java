package dev.laco.transformer;

import dev.laco.backend.ForwardOps;
import dev.laco.backend.SequenceStates;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.model.Activation;
import dev.laco.model.LayerRole;
import dev.laco.model.ShortConvolution;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** Computes {@link ShortConvolution}s, and their gradients. */
final class GatedConvolution {
  private static final double[] ONCE = {1};

  private final ForwardOps backend;
  private final @Nullable TrainingOps training;

  /**
   * Computes the convolutions of layers of models of one config.
   *
   * @param training needed only for gradients
   */
  GatedConvolution(ForwardOps backend, @Nullable TrainingOps training) {
    this.backend = backend;
    this.training = training;
  }

  /**
   * Computes {@code room.attended} of the layer's normalised input, {@code [T, d]}.
   *
   * @param states of earlier tokens, which get those of the batch; null for whole sequences
   */
  void attend(
      LayerWeights weights,
      Tensor input,
      TokenBatch batch,
      Workspace.Convolution room,
      @Nullable SequenceStates states) {
    Tensor stored = weights.get(LayerRole.CONVOLUTION);
    Tensor kernel = room.kernel();
    backend.mix(
        List.of(
            new TensorMix(kernel, ONCE, List.of(stored.reshape(kernel.rows(), kernel.columns())))));
    backend.linear(input, weights.get(LayerRole.CONVOLUTION_GATE), null, room.gate());
    backend.linear(input, weights.get(LayerRole.CONVOLUTION_OUTPUT_GATE), null, room.outputGate());
    backend.linear(input, weights.get(LayerRole.CONVOLUTION_INPUT), null, room.input());
    backend.gatedActivation(Activation.LINEAR, room.gate(), room.input(), room.gated());
    backend.causalConvolution(room.gated(), kernel, batch, states, room.convolved());
    backend.gatedActivation(
        Activation.LINEAR, room.outputGate(), room.convolved(), room.attended().heads());
  }

  /**
   * Turns the gradient by {@code room.attended} into those by the outputs of the three projections,
   * each of which takes the memory of that output. Other results of the forward pass are
   * overwritten.
   *
   * @param batch of whole sequences
   * @param byAttended {@code [T, n]}; overwritten
   * @param sums gradients by weights, which are added to
   */
  void backward(
      TokenBatch batch, Workspace.Convolution room, Tensor byAttended, LayerWeights sums) {
    TrainingOps ops = Objects.requireNonNull(training);
    ops.gatedGradients(Activation.LINEAR, room.outputGate(), room.convolved(), byAttended);
    Tensor kernel = room.kernel();
    Tensor byKernel = sums.find(LayerRole.CONVOLUTION);
    ops.causalConvolutionGradient(
        room.gated(),
        kernel,
        batch,
        room.convolved(),
        byKernel == null ? null : byKernel.reshape(kernel.rows(), kernel.columns()),
        byAttended);
    ops.gatedGradients(Activation.LINEAR, room.gate(), room.input(), byAttended);
  }
}
