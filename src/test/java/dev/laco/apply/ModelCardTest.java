package dev.laco.apply;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.TestFiles;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.TestCheckpoints;
import dev.laco.checkpoint.TestTensors;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.model.NewWeights;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The card of a pruned checkpoint, and what becomes of the original's. */
class ModelCardTest {
  private static final String ORIGINAL =
      """
      ---
      license: apache-2.0
      language:
      - en
      - "no"
      base_model: some/base-7B
      tags:
        - stories
        - "!!python/object:x"
      widget:
        - text: "a: b"
      inference: false
      ---
      # Storyteller 7B

      Has 8 layers. /home/me/secret
      """;

  @TempDir Path folder;
  private Path model;

  @BeforeEach
  void copyModel() {
    model = TestCheckpoints.copy("llama_untied_gqa", folder.resolve("m"));
  }

  private static CollapsePlan prune(Path source, Path out, boolean fitted) {
    try (Checkpoint model = Checkpoint.open(source)) {
      CollapsePlan plan =
          CollapsePlan.identity(PlanApplier.source(model))
              .fold(2, 2, MergeRule.parse("drop"), NormsPolicy.BASE);
      String norm = "model.norm.weight";
      NewWeights tensors =
          fitted
              ? NewWeights.NONE.with(TestTensors.changed(model.tensor(norm), norm))
              : NewWeights.NONE;
      new PlanApplier(model, plan, new PlanTensors(tensors), Long.MAX_VALUE, warning -> {})
          .write(out, false, bytes -> {});
      return plan;
    }
  }

  @Test
  void itTellsWhatWasDoneAndTakesOverLicenceAndOrigin() throws IOException {
    Files.writeString(model.resolve("README.md"), ORIGINAL);
    Path out = folder.resolve("out");
    prune(model, out, true);
    assertEquals(
        """
        ---
        base_model: some/base-7B
        language:
        - en
        - "no"
        license: apache-2.0
        library_name: transformers
        tags:
        - laco
        - pruned
        - stories
        ---

        # Storyteller 7B, 6 of 8 layers

        A `LlamaForCausalLM` of 6 layers, made by laco development from the model that [README.original.md](README.original.md) describes, of 8 layers.

        - Layers, in the original's numbers from 0: kept 0-2 5-7, removed 3-4.
        - Weights: the original's, or mixed from them; tensors fitted to what the original computes: 1.
        - The same files again, from the original and the plan: `laco apply laco_plan.json ORIGINAL OUT`.

        ## How to load it

        - transformers: `AutoModelForCausalLM.from_pretrained("FOLDER")`
        - vLLM: `vllm serve FOLDER`
        - llama.cpp: `laco export FOLDER model.gguf`, then `llama-cli -m model.gguf`
        - jlama: `jlama chat FOLDER`

        ## Limits

        Removing layers costs quality, first in arithmetic, long contexts and rare knowledge: measure what matters to you.
        The original's licence and terms of use hold for this model, too; what its card says of depth, size and quality does not.
        """,
        Files.readString(out.resolve("README.md")));
    assertEquals(ORIGINAL, Files.readString(out.resolve("README.original.md")));
    Replay.apply(out.resolve("laco_plan.json"), model, folder.resolve("again"));
    TestFiles.assertSameTree(out, folder.resolve("again"));
  }

  /** Of five layers of Qwen3-Next, the fourth alone has a softmax. */
  @ParameterizedTest
  @CsvSource({"2, false", "3, true"})
  void transformersIsNamedWhereALayerWithASoftmaxIsLeft(int base, boolean named)
      throws IOException {
    Path out = folder.resolve("out");
    List<String> warnings = new ArrayList<>();
    try (Checkpoint open = Checkpoint.open(Fixtures.model("qwen3_next"))) {
      CollapsePlan plan =
          CollapsePlan.identity(PlanApplier.source(open))
              .fold(base, 1, MergeRule.DROP, NormsPolicy.BASE);
      new PlanApplier(open, plan, new PlanTensors(NewWeights.NONE), Long.MAX_VALUE, warnings::add)
          .write(out, false, bytes -> {});
    }
    String card = Files.readString(out.resolve("README.md"));
    assertEquals(named, card.contains("- transformers: "), card);
    assertTrue(card.contains("- vLLM: "), card);
    assertEquals(
        named,
        warnings.stream().noneMatch(line -> line.startsWith("transformers generates no text")),
        warnings::toString);
  }

  @Test
  void itHasTheNumbersThatThePlanHas() throws IOException {
    Path out = folder.resolve("out");
    try (Checkpoint open = Checkpoint.open(model)) {
      CollapsePlan plan =
          CollapsePlan.identity(PlanApplier.source(open))
              .fold(2, 2, MergeRule.DROP, NormsPolicy.BASE)
              .withResults(
                  new CollapsePlan.Results(
                      "eval.txt",
                      20,
                      25.123456,
                      0.98,
                      0.25,
                      new CollapsePlan.Training(32768, 40.0)));
      assertEquals(plan, CollapsePlan.parse("plan", plan.toJsonText()));
      new PlanApplier(open, plan, new PlanTensors(NewWeights.NONE), Long.MAX_VALUE, warning -> {})
          .write(out, false, bytes -> {});
    }
    String card = Files.readString(out.resolve("README.md"));
    assertTrue(
        card.contains(
            "mixed from them.\n- Measured on eval.txt: perplexity 25.12, of the original 20.00"
                + " (x1.256); similarity of the last hidden states 0.9800; divergence from the"
                + " original's predictions 0.2500 nats a token.\n- Healed: trained on 32,768 tokens"
                + " to predict what the original predicts; perplexity before: 40.00.\n- The same"
                + " files again"),
        card);
    assertTrue(
        card.contains(
            """
            - pruned
            model-index:
            - name: "6 of 8 layers"
              results:
              - task:
                  type: text-generation
                dataset:
                  name: "eval.txt"
                  type: text
                metrics:
                - type: perplexity
                  value: 25.1235
            ---
            """),
        card);
    Replay.apply(out.resolve("laco_plan.json"), model, folder.resolve("again"));
    TestFiles.assertSameTree(out, folder.resolve("again"));
  }

  @Test
  void aModelWithoutACardGetsOneAllTheSame() throws IOException {
    Path out = folder.resolve("out");
    prune(model, out, false);
    String card = Files.readString(out.resolve("README.md"));
    assertTrue(card.startsWith("---\nlibrary_name: transformers\ntags:\n- laco\n"), card);
    assertTrue(card.contains("\n# 6 of 8 layers\n"), card);
    assertFalse(card.contains("README.original.md"), card);
    assertFalse(Files.exists(out.resolve("README.original.md")));
    assertFalse(card.contains(folder.toString()), card);
  }

  @Test
  void thePrunedModelOfAPrunedModelKeepsTheFirstOriginalsCard() throws IOException {
    Files.writeString(model.resolve("README.md"), ORIGINAL);
    prune(model, folder.resolve("once"), false);
    prune(folder.resolve("once"), folder.resolve("twice"), false);
    assertEquals(ORIGINAL, Files.readString(folder.resolve("twice/README.original.md")));
    String card = Files.readString(folder.resolve("twice/README.md"));
    assertTrue(card.contains("\n# Storyteller 7B, 4 of 6 layers\n"), card);
  }

  @Test
  void whatIsNotSimpleIsNotTakenOver() throws IOException {
    List<String> cards =
        List.of(
            "---\nlicense: !!python/object:os.system\n---\n",
            "---\nlicense: {a: b}\nbase_model: &x y\n---\n",
            "---\nlicense: mit\nno end",
            "license: mit\n",
            "",
            "---",
            "---\n---",
            "---\nlicense:\n---\n");
    for (int i = 0; i < cards.size(); i++) {
      Files.writeString(model.resolve("README.md"), cards.get(i));
      prune(model, folder.resolve("out" + i), false);
      String card = Files.readString(folder.resolve("out" + i + "/README.md"));
      assertTrue(card.startsWith("---\nlibrary_name: transformers\n"), cards.get(i) + card);
    }
  }
}
