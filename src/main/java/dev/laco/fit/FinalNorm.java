package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.TensorSource;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.NextTokens;
import java.lang.foreign.SegmentAllocator;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Fits one factor on the final norm's weight. The factor scales the logits of the pruned model, as
 * an inverse temperature does, and is chosen so that the KL divergence of its next-token
 * distributions from the original's is least. The divergence is smooth and convex in the factor: it
 * is measured for a few factors, and the parabola through the smallest three has its vertex at the
 * minimum.
 */
final class FinalNorm {
  /** Tokens that the factor is fitted on: few are enough for one number. */
  private static final int TOKENS = 1024;

  private static final double SHORTEST = 0.7;
  private static final double LONGEST = 1.2;

  /** Factors that are measured, at equal distances. */
  private static final double[] MEASURED = {0.85, 0.9125, 0.975, 1.0375, 1.1};

  private final Backend backend;
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
   * Finds the factor; 1 if divergences are not finite. Of the tokens of {@link #judges} both
   * streams hold the output of the last layer before the call, and that of the final norm
   * afterwards.
   */
  double factor() {
    List<FitBlocks.Block> blocks = judges();
    for (FitBlocks.Block block : blocks) {
      for (Tensor stream : List.of(bench.streams().dense(block), bench.streams().pruned(block))) {
        model.finalNorm(stream, stream);
      }
    }
    return minimum(divergences(blocks));
  }

  /** The tokens that the factor is fitted on: documents held out, if there are any. */
  List<FitBlocks.Block> judges() {
    List<FitBlocks.Block> all = bench.blocks().list();
    List<FitBlocks.Block> heldOut = all.stream().filter(block -> !block.seen()).toList();
    return FitBlocks.beginning(heldOut.isEmpty() ? all : heldOut, TOKENS);
  }

  /**
   * {@code KL(original || pruned)} with each factor that is measured, sums over all tokens, nats.
   */
  private double[] divergences(List<FitBlocks.Block> blocks) {
    double[] sums = new double[MEASURED.length];
    for (FitBlocks.Block block : blocks) {
      Tensor states = bench.streams().pruned(block);
      int rows = Math.toIntExact(states.rows());
      try (TensorArena scratch = backend.arena()) {
        Tensor scaled =
            scratch.allocate(DType.F32, (long) MEASURED.length * rows, states.columns());
        List<TensorMix> products = new ArrayList<>();
        for (int i = 0; i < MEASURED.length; i++) {
          Tensor product = scaled.slice((long) i * rows, (i + 1L) * rows);
          products.add(new TensorMix(product, new double[] {MEASURED[i]}, List.of(states)));
        }
        backend.mix(products);
        Tensor reference = bench.streams().dense(block);
        double[] byRow = NextTokens.kl(model, reference, scaled, block.batch());
        for (int i = 0; i < MEASURED.length; i++) {
          sums[i] += Arrays.stream(byRow, i * rows, (i + 1) * rows).sum();
        }
      }
    }
    return sums;
  }

  /**
   * The minimum of a convex function.
   *
   * @param values of the function for each factor that is measured
   */
  private static double minimum(double[] values) {
    if (!Arrays.stream(values).allMatch(Double::isFinite)) {
      return 1;
    }
    int least = 1;
    for (int i = 2; i < values.length - 1; i++) {
      if (values[i] < values[least]) {
        least = i;
      }
    }
    double slope = values[least + 1] - values[least - 1];
    double curvature = values[least + 1] - 2 * values[least] + values[least - 1];
    double step = MEASURED[1] - MEASURED[0];
    // Where all factors are as good, the norm stays.
    return curvature > 0
        ? Math.clamp(MEASURED[least] - step * slope / (2 * curvature), SHORTEST, LONGEST)
        : 1;
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
    Values.store(values, scaled);
    return scaled;
  }
}
