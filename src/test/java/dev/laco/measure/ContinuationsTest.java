package dev.laco.measure;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.model.NewWeights;
import dev.laco.report.Sample;
import dev.laco.run.EvaluationText;
import dev.laco.text.TextChunks;
import dev.laco.text.Tokenizer;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Where two models part that continue pieces of a text. */
class ContinuationsTest {
  @TempDir Path folder;

  @Test
  void promptsBeginWithAllTokensThatTheTokenizerPutsBeforeAText() {
    Fixtures.writeTokenizer(folder, "<unk>", "<s>", "A");
    try (Tokenizer two = Tokenizer.load(folder).orElseThrow()) {
      int[] ids = two.encodeWithoutSpecial("The keeper of the light went home. ".repeat(40));
      List<int[]> prompts =
          Continuations.prompts(TextChunks.cut(ids, two.prefix(), 128, 128), two, 5);
      assertEquals(5, prompts.size());
      for (int[] prompt : prompts) {
        assertArrayEquals(new int[] {0, 1}, Arrays.copyOf(prompt, 2));
        assertTrue(prompt[2] > 1 && prompt.length <= Continuations.PROMPT + 1);
      }
    }
  }

  @Test
  void modelsAreTheSameUntilTheFirstTokenThatDiffers() {
    try (Model open = Model.open(Fixtures.STORYTELLER);
        Backend backend = CpuBackend.open(Compute.F32, 2)) {
      Tokenizer tokenizer = open.tokenizer().orElseThrow();
      EvaluationText text = EvaluationText.text(null, open, null, null);
      List<int[]> prompts = Continuations.prompts(text.chunks(), tokenizer, 3);
      assertEquals(3, prompts.size());
      for (int[] prompt : prompts.subList(1, 3)) {
        assertTrue(
            tokenizer.decode(prompt).strip().matches("(?s)[\"“‘']?\\p{Lu}.*"),
            tokenizer.decode(prompt));
      }
      RunningModel running = new RunningModel(backend, open.config(), open.checkpoint());
      CausalLm original = running.original();
      for (Sample sample : Continuations.of(original, original, tokenizer, prompts, Set.of())) {
        assertEquals(Continuations.TOKENS, sample.same());
        assertEquals(sample.original(), sample.pruned());
      }
      CollapsePlan plan =
          CollapsePlan.identity(PlanApplier.source(open.checkpoint()))
              .fold(3, 2, MergeRule.DROP, NormsPolicy.BASE);
      try (PlannedLayers layers = running.pruned(plan, NewWeights.NONE)) {
        int parted = 0;
        for (Sample sample :
            Continuations.of(original, layers.model(), tokenizer, prompts, Set.of())) {
          int same = sample.same();
          assertEquals(sample.original().subList(0, same), sample.pruned().subList(0, same));
          parted += same < Continuations.TOKENS ? 1 : 0;
        }
        assertTrue(parted > 0, "the models are too alike to tell");
      }
      // The text has no room for prompts.
      assertEquals(
          List.of(),
          Continuations.prompts(TextChunks.whole(List.of(new int[] {1, 2, 3})), tokenizer, 2));
    }
  }
}
