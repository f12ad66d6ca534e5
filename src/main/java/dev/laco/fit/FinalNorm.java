package dev.laco.fit;

import dev.laco.backend.SolvingOps;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.TensorSource;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.NextTokens;
import java.lang.foreign.SegmentAllocator;
import java.util.Arrays;
import java.util.List;
import java.util.function.DoubleUnaryOperator;

/**
 * Fits one factor on the final norm's weight. The factor scales the logits of the pruned model, as
 * an inverse temperature does, and is chosen so that the KL divergence of its next-token
 * distributions from the original's is least. The divergence is convex in the factor, so a golden
 * section search finds the minimum.
 */
final class FinalNorm {
  /** Tokens that the factor is fitted on: few are enough for one number. */
  private static final int TOKENS = 2048;

  private static final double SHORTEST = 0.7;
  private static final double LONGEST = 1.2;
  private static final double PRECISION = 0.005;
  private static final double GOLDEN = (Math.sqrt(5) - 1) / 2;

  private final SolvingOps backend;
  private final Workbench bench;
  private final CausalLm model;
  private final TensorSource source;

  FinalNorm(Workbench bench, CausalLm model, TensorSource source) {
    this.backend = bench.backend();
    this.bench = bench;
    this.model = model;
    this.source = source;
  }

  /**
   * Finds the factor, on the documents held out if there are any; 1 if divergences are not finite.
   * Both streams hold the output of the last layer before the call; afterwards some of their blocks
   * hold the output of the final norm.
   */
  double factor() {
    List<FitBlocks.Block> blocks = judges();
    for (FitBlocks.Block block : blocks) {
      for (Tensor stream : List.of(bench.streams().dense(block), bench.streams().pruned(block))) {
        model.finalNorm(stream, stream);
      }
    }
    return minimum(factor -> divergence(factor, blocks));
  }

  private List<FitBlocks.Block> judges() {
    List<FitBlocks.Block> all = bench.blocks().list();
    List<FitBlocks.Block> heldOut = all.stream().filter(block -> !block.seen()).toList();
    return FitBlocks.beginning(heldOut.isEmpty() ? all : heldOut, TOKENS);
  }

  /** {@code KL(original || pruned)} with the factor, sum over all tokens, nats. */
  private double divergence(double factor, List<FitBlocks.Block> blocks) {
    double sum = 0;
    for (FitBlocks.Block block : blocks) {
      Tensor states = bench.streams().pruned(block);
      try (TensorArena scratch = backend.arena()) {
        Tensor scaled = scratch.allocate(DType.F32, states.rows(), states.columns());
        Tensor column = scratch.allocate(DType.F32, states.rows(), 1);
        float[] factors = new float[Math.toIntExact(states.rows())];
        Arrays.fill(factors, (float) factor);
        backend.upload(factors, column);
        backend.scaledDifference(states, null, column, scaled);
        Tensor reference = bench.streams().dense(block);
        sum += Arrays.stream(NextTokens.kl(model, reference, scaled, block.batch())).sum();
      }
    }
    return sum;
  }

  private static double minimum(DoubleUnaryOperator convex) {
    double low = SHORTEST;
    double high = LONGEST;
    double left = high - GOLDEN * (high - low);
    double right = low + GOLDEN * (high - low);
    double atLeft = convex.applyAsDouble(left);
    double atRight = convex.applyAsDouble(right);
    while (high - low > PRECISION) {
      if (!Double.isFinite(atLeft + atRight)) {
        return 1;
      }
      if (atLeft < atRight) {
        high = right;
        right = left;
        atRight = atLeft;
        left = high - GOLDEN * (high - low);
        atLeft = convex.applyAsDouble(left);
      } else {
        low = left;
        left = right;
        atLeft = atRight;
        right = low + GOLDEN * (high - low);
        atRight = convex.applyAsDouble(right);
      }
    }
    return (low + high) / 2;
  }

  /** The weight with which the final norm multiplies by a factor more. */
  HostTensor scaled(double factor, SegmentAllocator memory) {
    HostTensor own = source.tensor(model.config().architecture().finalNorm());
    float[] values = Values.all(own);
    double offset = model.config().norm().offset();
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) (factor * (offset + values[i]) - offset);
    }
    HostTensor scaled = HostTensor.allocate(memory, own.name(), own.dtype(), own.shape());
    Values.store(values, scaled, 0);
    return scaled;
  }
}
