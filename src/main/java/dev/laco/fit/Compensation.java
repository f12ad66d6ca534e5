package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.collapse.CollapsePlan;
import dev.laco.model.DType;
import dev.laco.model.LayerRole;
import dev.laco.model.NewWeights;
import dev.laco.report.FitReport;
import dev.laco.transformer.PlannedLayers;
import java.lang.foreign.SegmentAllocator;
import java.util.ArrayList;
import java.util.List;

/**
 * Compensates for the growth of hidden states in removed layers, after Prune&amp;Comp (arXiv
 * 2507.18212). Prune&amp;Comp multiplies everything that is written to the residual stream before a
 * gap by the growth; here, everything that is written behind the gap is divided by it. Because
 * every layer normalises its input, both give the same model; dividing leaves the embedding
 * unchanged, which may share its tensor with the head.
 */
final class Compensation {
  private static final List<LayerRole> WRITES =
      List.of(LayerRole.OUTPUT, LayerRole.OUTPUT_BIAS, LayerRole.DOWN, LayerRole.DOWN_BIAS);

  private final Backend backend;
  private final Workbench bench;
  private final FitBlocks blocks;
  private final Streams streams;
  private final Original original;

  Compensation(Workbench bench) {
    this.backend = bench.backend();
    this.bench = bench;
    this.blocks = bench.blocks();
    this.streams = bench.streams();
    this.original = bench.original();
  }

  /** Fits all layers of a plan; the original's stream holds the token embeddings at the start. */
  CarryOver.Result fit(
      CollapsePlan plan,
      PlannedLayers layers,
      SegmentAllocator memory,
      CarryOver.Progress progress) {
    List<FitReport.Fitted> fitted = new ArrayList<>();
    List<FitReport.LeftAlone> leftAlone = new ArrayList<>();
    try (FittedTensors tensors = new FittedTensors(backend)) {
      double growth = 1;
      int next = 0;
      for (int index = 0; index < plan.depth(); index++) {
        if (!fitted.isEmpty()) {
          try (NewLayer layer = new NewLayer(bench, layers, index, memory)) {
            divide(layer, growth);
            layer.addTo(tensors);
          }
        }
        int base = plan.layers().get(index).base();
        int end = plan.end(index);
        if (plan.hasGapBehind(index)) {
          original.run(next, base + 1);
          streams.fork();
          original.run(base + 1, end);
          next = end;
          double here = growth();
          double error = error(here);
          if (here > 0 && Double.isFinite(1 / (here * growth)) && Double.isFinite(error)) {
            fitted.add(new FitReport.Fitted(index, LayerRole.DOWN, end - base - 1, 0, error));
            growth *= here;
          } else {
            leftAlone.add(new FitReport.LeftAlone(index, LayerRole.DOWN));
          }
        }
        progress.update(index + 1, plan.depth());
      }
      NewWeights all =
          tensors.all(index -> leftAlone.add(new FitReport.LeftAlone(index, LayerRole.DOWN)));
      return new CarryOver.Result(all, fitted, List.of(), 1, null, leftAlone);
    }
  }

  private void divide(NewLayer layer, double growth) {
    for (LayerRole role : WRITES) {
      Tensor own = layer.weights().find(role);
      if (own == null) {
        continue;
      }
      try (TensorArena scratch = backend.arena()) {
        Tensor less = scratch.allocate(DType.F32, own.rows(), own.columns());
        backend.mix(List.of(new TensorMix(less, new double[] {1 / growth}, List.of(own))));
        layer.use(role, own.dtype(), less);
      }
    }
  }

  /** Length of the original's hidden states relative to the pruned model's, mean over tokens. */
  private double growth() {
    double sum = 0;
    long tokens = 0;
    for (FitBlocks.Block block : blocks.list()) {
      if (block.seen()) {
        for (float growth : streams.growth(block)) {
          sum += growth;
          tokens++;
        }
      }
    }
    return sum / tokens;
  }

  private double error(double growth) {
    double left = 0;
    double before = 0;
    for (FitBlocks.Block block : blocks.list()) {
      if (!block.seen()) {
        left += streams.squaredDistance(growth, block);
        before += streams.squaredDistance(1, block);
      }
    }
    return before > 0 ? left / before : 1;
  }
}
