package dev.laco.bench.gpu;

import dev.laco.Compute;
import dev.laco.backend.MemoryArena;
import dev.laco.bench.ModelShape;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.fit.CarryOver;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.text.FitText;
import dev.laco.transformer.RunningModel;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/**
 * The fit of one model, as it follows a search: a quarter of the layers gone from the middle,
 * random weights and tokens. What is chosen among models in front of it is left out.
 */
final class FitJob implements AutoCloseable {
  private static final int CHUNK = 256;

  private final MadeUpWeights weights;
  private final ModelConfig config;
  private final CollapsePlan plan;
  private final List<FitText.Chunk> chunks;

  /** Makes the weights, and a text of about so many tokens. */
  FitJob(BenchDevice device, String model, int tokens) {
    this.config = ModelShape.of(model);
    int layers = config.numHiddenLayers();
    this.plan =
        CollapsePlan.identity(
                new CollapsePlan.Source(config.architecture().className(), layers, "sha256:none"))
            .fold(layers / 2, layers / 4, MergeRule.DROP, NormsPolicy.BASE);
    Random random = new Random(1);
    List<FitText.Chunk> text = new ArrayList<>();
    for (int document = 0; document < Math.ceilDiv(tokens, CHUNK); document++) {
      int[] ids = random.ints(CHUNK, 0, config.vocabSize()).toArray();
      text.add(new FitText.Chunk(ids, document));
    }
    this.chunks = List.copyOf(text);
    this.weights = new MadeUpWeights(device, device.backend(Compute.AUTO), config, DType.BF16);
  }

  /** What solves the systems. */
  String solver() {
    return weights.backend().solver().name();
  }

  /** Seconds of one fit by a rule, its buffers included. */
  double seconds(FitRule rule) {
    long start = System.nanoTime();
    try (MemoryArena memory = new MemoryArena();
        CarryOver carryOver =
            new CarryOver(new RunningModel(weights.backend(), config, weights), chunks)) {
      carryOver.fit(plan, rule, 1, true, memory, (done, total) -> {});
      return (System.nanoTime() - start) / 1e9;
    }
  }

  @Override
  public void close() {
    weights.close();
  }
}
