package dev.laco.bench.gpu;

import java.util.ArrayList;
import java.util.List;

/** All ops, in the order of a report. */
final class Ops {
  private Ops() {}

  static List<Op> all() {
    List<Op> ops = new ArrayList<>(List.of(new MixOp(), new CosineOp(), new CosinePairsOp()));
    ops.addAll(RowOps.all());
    ops.addAll(LinearSystemOps.all());
    ops.addAll(GradientOps.all());
    ops.addAll(
        List.of(
            new LogProbabilityOp(),
            new SampleOp(),
            new KlDivergenceOp(),
            new AttentionOp(),
            new AttentionGradientOp(),
            new GatedDeltaOp(),
            new GatedDeltaGradientOp(),
            new CollapseProductOp(),
            new ProductOp()));
    return ops;
  }
}
