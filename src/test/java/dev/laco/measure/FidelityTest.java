package dev.laco.measure;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.model.DType;
import dev.laco.model.NewWeights;
import dev.laco.model.PackedSequences;
import dev.laco.model.TensorSource;
import dev.laco.report.Fidelity;
import dev.laco.report.PositionDivergence;
import dev.laco.text.TextChunks;
import dev.laco.text.TextChunks.Chunk;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import dev.laco.transformer.Workspace;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** How near a pruned model stays to the original, against a plain computation. */
class FidelityTest {
  private final Backend backend = CpuBackend.open(Compute.F32, 2);
  private final Checkpoint model = Checkpoint.open(Fixtures.model("llama_untied_gqa"));
  private final CausalLm original = new RunningModel(backend, model.config(), model).original();
  private final double[][] head = rows(original.head().weight());

  @AfterEach
  void close() {
    model.close();
    backend.close();
  }

  @Test
  void aModelIsWholyTrueToItself() {
    Fidelity itself = both(original).pruned();
    assertEquals(1, itself.similarity(), 1e-6);
    assertEquals(0, itself.divergence(), 1e-9);
    assertEquals(
        PerplexityMeasure.measure(original, chunks(), (done, total) -> {}), itself.perplexity());
  }

  @Test
  void aPrunedModelIsMeasuredWhereTokensAreScored() {
    CollapsePlan plan =
        CollapsePlan.identity(PlanApplier.source(model))
            .fold(3, 2, MergeRule.DROP, NormsPolicy.BASE);
    try (PlannedLayers layers =
        new RunningModel(backend, model.config(), model).pruned(plan, NewWeights.NONE)) {
      CausalLm pruned = layers.model();
      double similarity = 0;
      double divergence = 0;
      int scored = 0;
      for (Chunk chunk : chunks()) {
        double[][] expected = states(original, chunk);
        double[][] found = states(pruned, chunk);
        similarity += cosine(expected, found);
        for (int i = chunk.firstScored(); i < chunk.length(); i++) {
          divergence += divergence(expected[i - 1], found[i - 1]);
          scored++;
        }
      }
      FidelityMeasure.Both both = both(pruned);
      Fidelity fidelity = both.pruned();
      assertEquals(similarity / chunks().size(), fidelity.similarity(), 1e-6);
      assertEquals(divergence / scored, fidelity.divergence(), 1e-6 + 1e-4 * divergence / scored);
      assertTrue(fidelity.divergence() > 1e-4, "the models are too alike to tell");
      assertEquals(
          PerplexityMeasure.measure(pruned, chunks(), (d, t) -> {}), fidelity.perplexity());
      assertEquals(PerplexityMeasure.measure(original, chunks(), (d, t) -> {}), both.original());
      double sum = 0;
      long tokens = 0;
      for (PositionDivergence group : both.byPosition()) {
        sum += group.tokens() * group.divergence();
        tokens += group.tokens();
      }
      assertEquals(scored, tokens);
      assertEquals(divergence, sum, 1e-4 * divergence);
      // 500 tokens in groups of 16; the last one is predicted from position 498 on.
      PositionDivergence last = both.byPosition().getLast();
      assertEquals(496, last.first());
      assertEquals(498, last.last());
      // The short list has its six predictions in the first group, with sixteen of each other.
      assertEquals(6 + 2 * 16, both.byPosition().getFirst().tokens());
    }
  }

  @Test
  void forSeveralModelsTheOriginalRunsOnce() {
    CollapsePlan plan =
        CollapsePlan.identity(PlanApplier.source(model))
            .fold(3, 2, MergeRule.DROP, NormsPolicy.BASE);
    int[] reads = {0};
    TensorSource counted =
        name -> {
          // A layer that the pruned model has not.
          reads[0] += name.contains(".layers.4.") ? 1 : 0;
          return model.tensor(name);
        };
    RunningModel running = new RunningModel(backend, model.config(), counted);
    try (PlannedLayers layers = running.pruned(plan, NewWeights.NONE);
        FidelityMeasure measure = new FidelityMeasure(running.original(), chunks(), true)) {
      FidelityMeasure.Both expected = both(layers.model());
      reads[0] = 0;
      assertEquals(expected.original(), measure.original((done, total) -> {}));
      int once = reads[0];
      assertTrue(once > 0);
      assertEquals(expected, measure.measure(layers.model(), (done, total) -> {}));
      assertEquals(expected, measure.measure(layers.model(), (done, total) -> {}));
      assertEquals(once, reads[0]);
    }
  }

  private FidelityMeasure.Both both(CausalLm pruned) {
    try (FidelityMeasure measure = new FidelityMeasure(original, chunks(), false)) {
      return measure.measure(pruned, (done, total) -> {});
    }
  }

  /** More than a batch, of which some are scored from their middle on. */
  private List<Chunk> chunks() {
    Random random = new Random(1);
    List<Chunk> chunks =
        new ArrayList<>(TextChunks.whole(List.of(ids(random, 500), ids(random, 7))));
    chunks.addAll(TextChunks.cut(ids(random, 700), new int[0], 500, 150));
    return chunks;
  }

  private int[] ids(Random random, int length) {
    return random.ints(length, 0, model.config().vocabSize()).toArray();
  }

  private double[][] states(CausalLm lm, Chunk chunk) {
    PackedSequences sequences = PackedSequences.of(List.of(chunk.ids()));
    try (TensorArena arena = backend.arena();
        Workspace work = new Workspace(backend, lm.config(), chunk.length());
        TokenBatch batch = lm.batch(sequences)) {
      Tensor states = arena.allocate(DType.F32, chunk.length(), lm.config().hiddenSize());
      lm.run(batch, states, work);
      return rows(states);
    }
  }

  private double[][] rows(Tensor tensor) {
    float[] row = new float[(int) tensor.columns()];
    double[][] rows = new double[(int) tensor.rows()][row.length];
    for (int r = 0; r < rows.length; r++) {
      backend.download(tensor.slice(r, r + 1), row);
      for (int i = 0; i < row.length; i++) {
        rows[r][i] = row[i];
      }
    }
    return rows;
  }

  private static double cosine(double[][] a, double[][] b) {
    double dot = 0;
    double aa = 0;
    double bb = 0;
    for (int r = 0; r < a.length; r++) {
      for (int i = 0; i < a[r].length; i++) {
        dot += a[r][i] * b[r][i];
        aa += a[r][i] * a[r][i];
        bb += b[r][i] * b[r][i];
      }
    }
    return dot / Math.sqrt(aa * bb);
  }

  private double divergence(double[] expected, double[] found) {
    double[] p = logProbabilities(expected);
    double[] q = logProbabilities(found);
    double sum = 0;
    for (int v = 0; v < p.length; v++) {
      sum += Math.exp(p[v]) * (p[v] - q[v]);
    }
    return sum;
  }

  private double[] logProbabilities(double[] state) {
    double[] logits = new double[head.length];
    double sum = 0;
    for (int v = 0; v < head.length; v++) {
      for (int i = 0; i < state.length; i++) {
        logits[v] += state[i] * head[v][i];
      }
      sum += Math.exp(logits[v]);
    }
    for (int v = 0; v < head.length; v++) {
      logits[v] -= Math.log(sum);
    }
    return logits;
  }
}
