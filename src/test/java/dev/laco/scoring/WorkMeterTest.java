package dev.laco.scoring;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.model.PackedSequences;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What a pass over a model counts as, beside the products with its matrices. */
class WorkMeterTest {
  /**
   * Two sequences of 3 and 2 tokens have 9 pairs. A pair has two operations for each element of a
   * head's query, and of its value; a token of linear attention has three products with states.
   */
  @ParameterizedTest
  @CsvSource({
    "qwen3_qknorm, 8, 32, 32, 0, 0",
    "minicpm3, 6, 20, 8, 0, 0",
    "deepseek_v3, 5, 20, 10, 0, 0",
    "qwen3_next, 1, 16, 16, 4, 48"
  })
  void attentionCountsByItsKind(
      String fixture, int softmax, int query, int value, int linear, int state) {
    PackedSequences tokens = PackedSequences.of(List.of(new int[] {1, 5, 2}, new int[] {3, 1}));
    int heads = 4;
    try (Checkpoint model = Checkpoint.open(Fixtures.model(fixture))) {
      CollapsePlan original = CollapsePlan.identity(PlanApplier.source(model));
      long products = 0;
      for (int layer = 0; layer < original.depth(); layer++) {
        products += 2L * 5 * model.config().activeParameters(layer);
      }
      long all = new WorkMeter(model.config(), model, tokens, 0).work(original).floorOperations();
      long pairs = 9L * softmax * heads * 2 * (query + value);
      long states = 5L * linear * heads * 6 * state;
      assertEquals(pairs + states, all - products);
    }
  }
}
