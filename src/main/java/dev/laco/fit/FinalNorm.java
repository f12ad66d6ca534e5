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
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.function.DoubleUnaryOperator;

/**
 * Fits one factor on the final norm's weight. The factor scales the logits of the pruned model, as
 * an inverse temperature does, and is chosen so that the KL divergence of its next-token
 * distributions from the original's is least. The divergence is smooth and convex in the factor, so
 * the vertices of a few parabolas find the minimum.
 */
final class FinalNorm {
  /** Tokens that the factor is fitted on: few are enough for one number. */
  private static final int TOKENS = 2048;

  private static final double SHORTEST = 0.7;
  private static final double LONGEST = 1.2;

  /** Factors that are measured first. */
  private static final List<Double> FIRST = List.of(0.9, 1.0, 1.1);

  /** The most vertices of parabolas that are measured. */
  private static final int STEPS = 3;

  /** The smallest difference of two vertices from which on another is measured. */
  private static final double PRECISION = 0.005;

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
    return minimum(factor -> divergence(factor, blocks));
  }

  /** The tokens that the factor is fitted on: documents held out, if there are any. */
  List<FitBlocks.Block> judges() {
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

  /** The minimum of a convex function: the vertex of a parabola, then of ones through it. */
  private static double minimum(DoubleUnaryOperator convex) {
    List<Point> points = new ArrayList<>();
    FIRST.forEach(factor -> points.add(new Point(factor, convex.applyAsDouble(factor))));
    double best = Double.NaN;
    for (int step = 0; step < STEPS; step++) {
      double vertex = vertex(points.get(0), points.get(1), points.get(2));
      double value = convex.applyAsDouble(vertex);
      if (!Double.isFinite(value)) {
        return 1;
      }
      if (Math.abs(vertex - best) < PRECISION) {
        break;
      }
      best = vertex;
      points.add(new Point(vertex, value));
      points.sort(Comparator.comparingDouble(point -> Math.abs(point.factor - vertex)));
    }
    return points.stream().min(Comparator.comparingDouble(Point::value)).orElseThrow().factor;
  }

  private record Point(double factor, double value) {}

  /** The vertex of the parabola through three points, within the range that is searched. */
  private static double vertex(Point a, Point b, Point c) {
    double left = (b.factor - a.factor) * (b.value - c.value);
    double right = (b.factor - c.factor) * (b.value - a.value);
    double below = (b.factor - a.factor) * left - (b.factor - c.factor) * right;
    return Math.clamp(b.factor - below / (2 * (left - right)), SHORTEST, LONGEST);
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
