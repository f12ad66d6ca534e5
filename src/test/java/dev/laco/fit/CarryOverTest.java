package dev.laco.fit;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.backend.Backend;
import dev.laco.backend.Compute;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.eval.Perplexity;
import dev.laco.model.HostTensor;
import dev.laco.scoring.PlannedLayers;
import dev.laco.text.CalibrationSet;
import dev.laco.text.FitText;
import dev.laco.text.TextWindows;
import dev.laco.text.Tokenizer;
import dev.laco.transformer.CausalLm;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Fitted models against the model they are made of. */
class CarryOverTest {
  private static final Path STORYTELLER = Path.of("models/storyteller");

  @TempDir Path folder;

  @Test
  void everyRuleRepairsMoreThanTheOneBefore() {
    try (Backend backend = CpuBackend.open(Compute.AUTO, 0);
        Checkpoint model = Checkpoint.open(STORYTELLER);
        Tokenizer tokenizer = Tokenizer.load(STORYTELLER).orElseThrow();
        MemoryArena memory = new MemoryArena()) {
      CalibrationSet.Target target =
          new CalibrationSet.Target(
              Optional.of(tokenizer),
              model.config().vocabSize(),
              model.config().maxPositionEmbeddings());
      FitText text = FitText.read(STORYTELLER.resolve("fit.txt"), target).limit(8192);
      CollapsePlan plan = drop(model, 8, 4);
      List<TextWindows.Window> evaluation =
          TextWindows.whole(
              FitText.read(STORYTELLER.resolve("evaluation.txt"), target).windows().stream()
                  .map(FitText.Window::ids)
                  .toList());
      double dense = nll(CausalLm.of(backend, model.config(), model), evaluation);
      double last = nll(backend, model, plan, null, evaluation);
      try (CarryOver carryOver = carryOver(backend, model, text)) {
        for (FitRule rule : FitRule.values()) {
          double fitted = nll(backend, model, plan, fit(carryOver, plan, rule, memory), evaluation);
          assertTrue(fitted < last, "%s: %.4f, before %.4f".formatted(rule, fitted, last));
          last = fitted;
        }
      }
      assertTrue(dense < last);
    }
  }

  static java.util.stream.Stream<String> fixtures() {
    return Fixtures.names();
  }

  @ParameterizedTest
  @MethodSource("fixtures")
  void everyArchitectureIsFittedAndWritten(String name) throws IOException {
    try (Backend backend = new ReferenceBackend(Compute.AUTO);
        Checkpoint model = Checkpoint.open(Fixtures.model(name));
        MemoryArena memory = new MemoryArena();
        CarryOver carryOver = carryOver(backend, model, fixtureText(name, model))) {
      CollapsePlan plan = drop(model, 1, 2);
      CarryOver.Result result = fit(carryOver, plan, FitRule.REPAIR, memory);
      Path out = folder.resolve(name);
      new PlanApplier(model, plan, new PlanTensors(result.tensors()), Long.MAX_VALUE)
          .write(out, false, bytes -> {});
      List<TextWindows.Window> tokens = TextWindows.whole(Fixtures.tokens(name, "eval"));
      try (Checkpoint written = Checkpoint.open(out)) {
        assertEquals(
            nll(backend, model, plan, result, tokens),
            nll(CausalLm.of(backend, written.config(), written), tokens));
      }
    }
  }

  @ParameterizedTest
  @EnumSource(FitRule.class)
  void theSameFitGivesTheSameBytes(FitRule rule) throws IOException {
    String name = "llama_tied_rope3";
    try (Backend backend = CpuBackend.open(Compute.AUTO, 2);
        Checkpoint model = Checkpoint.open(Fixtures.model(name));
        MemoryArena memory = new MemoryArena();
        CarryOver carryOver = carryOver(backend, model, fixtureText(name, model))) {
      CollapsePlan plan = drop(model, 2, 3);
      CarryOver.Result first = fit(carryOver, plan, rule, memory);
      CarryOver.Result second = fit(carryOver, plan, rule, memory);
      assertEquals(first.tensors().tensors().keySet(), second.tensors().tensors().keySet());
      assertTrue(!first.tensors().isEmpty());
      first
          .tensors()
          .tensors()
          .forEach(
              (tensor, values) ->
                  assertArrayEquals(bytes(values), bytes(second.tensors().tensors().get(tensor))));
    }
  }

  @Test
  void aModelWithoutAGapIsLeftAlone() throws IOException {
    String name = "llama_untied_gqa";
    try (Backend backend = CpuBackend.open(Compute.F32, 2);
        Checkpoint model = Checkpoint.open(Fixtures.model(name));
        MemoryArena memory = new MemoryArena();
        CarryOver carryOver = carryOver(backend, model, fixtureText(name, model))) {
      CollapsePlan plan = CollapsePlan.identity(PlanApplier.source(model));
      assertTrue(fit(carryOver, plan, FitRule.REPAIR, memory).tensors().isEmpty());
    }
  }

  private static CollapsePlan drop(Checkpoint model, int base, int followers) {
    return CollapsePlan.identity(PlanApplier.source(model))
        .fold(base, followers, MergeRule.DROP, NormsPolicy.BASE);
  }

  private static CarryOver carryOver(Backend backend, Checkpoint model, FitText text) {
    return new CarryOver(backend, model.config(), model, text.windows());
  }

  private static CarryOver.Result fit(
      CarryOver carryOver, CollapsePlan plan, FitRule rule, MemoryArena memory) {
    return carryOver.fit(
        plan, rule, 1, true, (bytes, alignment) -> memory.allocate(bytes), (done, total) -> {});
  }

  private FitText fixtureText(String name, Checkpoint model) throws IOException {
    StringBuilder json = new StringBuilder("[");
    for (int[] list : Fixtures.tokens(name, "calib")) {
      json.append(json.length() > 1 ? "," : "").append(Arrays.toString(list));
    }
    Path file = Files.writeString(folder.resolve(name + ".json"), json.append(']'));
    return FitText.read(
        file,
        new CalibrationSet.Target(
            Optional.empty(), model.config().vocabSize(), model.config().maxPositionEmbeddings()));
  }

  private static double nll(
      Backend backend,
      Checkpoint model,
      CollapsePlan plan,
      CarryOver.@org.jspecify.annotations.Nullable Result result,
      List<TextWindows.Window> windows) {
    try (PlannedLayers layers =
        new PlannedLayers(backend, model.config(), model, plan, dtype -> dtype)) {
      if (result != null) {
        layers.use(plan, result.tensors());
      }
      return nll(layers.model(), windows);
    }
  }

  private static double nll(CausalLm model, List<TextWindows.Window> windows) {
    return Perplexity.measure(model, windows, (done, total) -> {}).meanNll();
  }

  private static byte[] bytes(HostTensor tensor) {
    return tensor.data().toArray(ValueLayout.JAVA_BYTE);
  }
}
