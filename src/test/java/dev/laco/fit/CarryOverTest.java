package dev.laco.fit;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.MissingTokenizer;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.measure.PerplexityMeasure;
import dev.laco.model.Architecture;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.LayerRole;
import dev.laco.model.NewWeights;
import dev.laco.model.PackedSequences;
import dev.laco.model.TensorSpec;
import dev.laco.report.FitReport;
import dev.laco.scoring.ModelScore;
import dev.laco.text.CalibrationSet;
import dev.laco.text.FitText;
import dev.laco.text.TextChunks;
import dev.laco.text.Tokenizer;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import dev.laco.transformer.Workspace;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

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
      CalibrationSet.Target target = target(model, Optional.of(tokenizer));
      FitText text = FitText.read(STORYTELLER.resolve("fit.txt"), target).limit(4096);
      CollapsePlan plan = drop(model, 8, 4);
      List<TextChunks.Chunk> evaluation =
          TextChunks.whole(
              FitText.read(STORYTELLER.resolve("evaluation.txt"), target).chunks().stream()
                  .map(FitText.Chunk::ids)
                  .toList());
      double dense = nll(new RunningModel(backend, model.config(), model).original(), evaluation);
      double last = nll(backend, model, plan, null, evaluation);
      try (CarryOver carryOver = carryOver(backend, model, text)) {
        for (FitRule rule : FitRule.presets()) {
          if (!rule.solves()) {
            continue;
          }
          double fitted = nll(backend, model, plan, fit(carryOver, plan, rule, memory), evaluation);
          assertTrue(
              fitted < last,
              String.format(Locale.ROOT, "%s: %.4f, before %.4f", rule, fitted, last));
          last = fitted;
        }
      }
      assertTrue(dense < last);
    }
  }

  /** Two gaps: what is written behind each is divided by how much the removed layers added. */
  @Test
  void compensationDividesByTheGrowthOfTheStream() throws IOException {
    String name = "llama_mha_bias_f16";
    try (Backend backend = new ReferenceBackend(Compute.F32);
        Checkpoint model = Checkpoint.open(Fixtures.model(name));
        MemoryArena memory = new MemoryArena();
        CarryOver carryOver = carryOver(backend, model, fixtureText(name, model))) {
      int depth = model.config().numHiddenLayers();
      CollapsePlan plan = drop(model, 1, 1).fold(depth - 4, 1, MergeRule.DROP, NormsPolicy.BASE);
      CarryOver.Result result = fit(carryOver, plan, FitRule.COMPENSATE, memory);
      assertEquals(List.of(1, depth - 4), result.fitted().stream().map(f -> f.layer()).toList());
      List<int[]> seen = seen(fixtureText(name, model).chunks());
      double first = growth(backend, model, seen, 2, 3);
      double second = first * growth(backend, model, seen, depth - 2, depth - 1);
      int tensors = 0;
      for (int layer = 2; layer < depth - 2; layer++) {
        double expected = layer <= depth - 4 ? first : second;
        int original = plan.layers().get(layer).base();
        for (TensorSpec spec :
            model.config().architecture().layerTensors(model.config(), original)) {
          HostTensor made = result.tensors().find("model.layers." + layer + "." + spec.suffix());
          if (WRITES.stream().anyMatch(spec::has)) {
            HostTensor own = model.tensor("model.layers." + original + "." + spec.suffix());
            assertEquals(1 / expected, factor(own, Objects.requireNonNull(made)), 0x1p-11);
            tensors++;
          }
        }
      }
      assertEquals(tensors, result.tensors().tensors().size());
      assertEquals((depth - 4) * 4, tensors);
    }
  }

  private static final Set<LayerRole> WRITES =
      Set.of(LayerRole.OUTPUT, LayerRole.OUTPUT_BIAS, LayerRole.DOWN, LayerRole.DOWN_BIAS);

  private static List<int[]> seen(List<FitText.Chunk> chunks) {
    List<FitText.Chunk> heldOut = CarryOver.heldOut(chunks);
    assertEquals(1, heldOut.size());
    return chunks.stream()
        .filter(chunk -> !heldOut.contains(chunk))
        .map(FitText.Chunk::ids)
        .toList();
  }

  /** Mean ratio of the lengths of the stream before layers {@code to} and {@code from}. */
  private static double growth(
      Backend backend, Checkpoint model, List<int[]> lists, int from, int to) {
    CausalLm lm = new RunningModel(backend, model.config(), model).original();
    int width = model.config().hiddenSize();
    PackedSequences sequences = PackedSequences.of(lists);
    try (TensorArena arena = backend.arena();
        Workspace work = new Workspace(backend, model.config(), sequences.size());
        TokenBatch batch = lm.batch(sequences)) {
      Tensor x = arena.allocate(DType.F32, sequences.size(), width);
      float[] before = new float[sequences.size() * width];
      float[] after = before.clone();
      lm.embed(batch, x);
      for (int layer = 0; layer < to; layer++) {
        if (layer == from) {
          backend.download(x, before);
        }
        lm.layer(layer, x, batch, work, null);
      }
      backend.download(x, after);
      double sum = 0;
      for (int t = 0; t < sequences.size(); t++) {
        sum += length(after, t * width, width) / length(before, t * width, width);
      }
      return sum / sequences.size();
    }
  }

  private static double length(float[] values, int from, int count) {
    double sum = 0;
    for (int i = from; i < from + count; i++) {
      sum += (double) values[i] * values[i];
    }
    return Math.sqrt(sum);
  }

  /** Of which {@code made} is {@code own} times it, by least squares. */
  private static double factor(HostTensor own, HostTensor made) {
    double product = 0;
    double square = 0;
    float[] from = Values.all(own);
    float[] to = Values.all(made);
    for (int i = 0; i < from.length; i++) {
      product += (double) from[i] * to[i];
      square += (double) from[i] * from[i];
    }
    return product / square;
  }

  @Test
  void theLearningCurveEndsAtTheFit() {
    try (Backend backend = CpuBackend.open(Compute.AUTO, 0);
        Checkpoint model = Checkpoint.open(STORYTELLER);
        MemoryArena memory = new MemoryArena()) {
      FitText text = stories(model, 6144);
      try (CarryOver carryOver = carryOver(backend, model, text)) {
        for (FitRule rule : List.of(FitRule.MAP, FitRule.FIT)) {
          CarryOver.Result result = fit(carryOver, drop(model, 8, 2), rule, memory);
          List<FitReport.Learned> curve = result.curve();
          assertEquals(3, curve.size());
          int all = curve.getLast().tokens();
          assertEquals(
              all,
              text.tokens()
                  - CarryOver.heldOut(text.chunks()).stream()
                      .mapToInt(FitText.Chunk::length)
                      .sum());
          assertTrue(curve.get(0).tokens() >= all / 4 && curve.get(0).tokens() < all / 2);
          assertTrue(curve.get(1).tokens() >= all / 2 && curve.get(1).tokens() < all);
          assertEquals(result.fitted().getFirst().error(), curve.getLast().error());
          for (int i = 0; i < 3; i++) {
            assertTrue(curve.get(i).error() > 0 && curve.get(i).error() < 1, curve::toString);
          }
          assertTrue(curve.get(2).error() < curve.get(0).error(), curve::toString);
        }
      }
    }
  }

  static java.util.stream.Stream<String> fixtures() {
    return Fixtures.fitting();
  }

  @ParameterizedTest
  @MethodSource("fixtures")
  void everyArchitectureIsFittedAndWritten(String name) throws IOException {
    for (FitRule rule : List.of(FitRule.COMPENSATE, FitRule.MAP, FitRule.REFINE)) {
      isFittedAndWritten(name, rule);
    }
  }

  private void isFittedAndWritten(String name, FitRule rule) throws IOException {
    try (Backend backend = CpuBackend.open(Compute.AUTO, 2);
        Checkpoint model = Checkpoint.open(Fixtures.model(name));
        MemoryArena memory = new MemoryArena();
        CarryOver carryOver = carryOver(backend, model, fixtureText(name, model))) {
      CollapsePlan plan = drop(model, 1, 2);
      CarryOver.Result result = fit(carryOver, plan, rule, memory);
      assertTrue(!result.tensors().isEmpty());
      Path out = folder.resolve(name + "-" + rule);
      new PlanApplier(model, plan, new PlanTensors(result.tensors()), Long.MAX_VALUE, warning -> {})
          .write(out, false, bytes -> {});
      List<TextChunks.Chunk> tokens = TextChunks.whole(Fixtures.tokens(name, "eval"));
      try (Checkpoint written = Checkpoint.open(out)) {
        assertEquals(
            nll(backend, model, plan, result, tokens),
            nll(new RunningModel(backend, written.config(), written).original(), tokens));
      }
    }
  }

  /**
   * Layers whose attention and feed-forward network are parallel behind one norm or two, networks
   * without gate, norms with biases: with a fitted layer before the final norm predictions come
   * closer to the original's, on text that the layer was not fitted to.
   */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "cohere.f16",
        "falcon_two_norms.f16",
        "gpt_neox.q8_0",
        "stablelm.f16",
        "starcoder2.f16"
      })
  void downProjectionsAreFittedWhereMoreDoesNotHold(String name) {
    Path file = Fixtures.RESOURCES.resolve("gguf").resolve(name + ".gguf");
    try (Backend backend = CpuBackend.open(Compute.F32, 2);
        Checkpoint model = Checkpoint.open(file);
        MemoryArena memory = new MemoryArena()) {
      assertEquals(FitRule.FIT, FitRule.best(model.config()));
      int vocabulary = model.config().vocabSize();
      Random random = new Random(7);
      List<FitText.Chunk> chunks = new ArrayList<>();
      for (int document = 0; document < 40; document++) {
        int[] ids = random.ints(60, 0, vocabulary).toArray();
        chunks.add(new FitText.Chunk(ids, document, "a text"));
      }
      CollapsePlan plan = drop(model, model.config().numHiddenLayers() - 2, 1);
      PackedSequences others =
          PackedSequences.of(List.of(random.ints(100, 0, vocabulary).toArray()));
      double removed = divergence(backend, model, plan, NewWeights.NONE, others);
      try (CarryOver carryOver =
          new CarryOver(
              new RunningModel(backend, model.config(), model),
              WholeText.of(new FitText("a text", chunks)))) {
        for (FitRule rule : List.of(FitRule.MAP, FitRule.FIT)) {
          CarryOver.Result result = fit(carryOver, plan, rule, memory);
          FitReport.Fitted down = result.fitted().getFirst();
          assertEquals(LayerRole.DOWN, down.role());
          assertTrue(down.error() < 0.95, rule + " " + down);
          double fitted = divergence(backend, model, plan, result.tensors(), others);
          assertTrue(fitted < removed, rule + ": " + fitted + ", removed " + removed);
        }
        CollapsePlan first = drop(model, 0, 1);
        NewWeights scaled = fit(carryOver, first, FitRule.COMPENSATE, memory).tensors();
        List<FitText.Chunk> heldOut = CarryOver.heldOut(chunks);
        List<int[]> seen =
            chunks.stream()
                .filter(chunk -> !heldOut.contains(chunk))
                .map(FitText.Chunk::ids)
                .toList();
        assertScaled(model, first, scaled, growth(backend, model, seen, 1, 2));
      }
    }
  }

  /** Behind the first layer, what layers write is divided by the growth in the removed ones. */
  private static void assertScaled(
      Checkpoint model, CollapsePlan plan, NewWeights scaled, double growth) {
    Architecture family = model.config().architecture();
    for (int layer = 1; layer < plan.depth(); layer++) {
      int original = plan.layers().get(layer).base();
      for (TensorSpec spec : family.layerTensors(model.config(), original)) {
        if (WRITES.stream().anyMatch(spec::has)) {
          HostTensor own = model.tensor(family.tensorName(original, spec));
          HostTensor made = scaled.find(family.tensorName(layer, spec));
          assertEquals(1 / growth, factor(own, Objects.requireNonNull(made)), 0x1p-10);
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("dev.laco.collapse.FitRule#presets")
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

  /** From the layer before the gap on, all tensors move once what can be solved for is solved. */
  @Test
  void trainingLeavesLessUndoneThanSolving() throws IOException {
    String name = "llama_tied_rope3";
    try (Backend backend = CpuBackend.open(Compute.F32, 2);
        Checkpoint model = Checkpoint.open(Fixtures.model(name));
        MemoryArena memory = new MemoryArena();
        CarryOver carryOver = carryOver(backend, model, fixtureText(name, model))) {
      CollapsePlan plan = drop(model, 2, 3);
      List<FitReport.Fitted> fitted = fit(carryOver, plan, FitRule.REFINE, memory).fitted();
      List<FitReport.Fitted> solved = fit(carryOver, plan, FitRule.REPAIR, memory).fitted();
      // Behind it, the fit ends where training gains little.
      for (int layer = 2; layer <= fitted.getLast().layer(); layer++) {
        List<LayerRole> matrices = roles(fitted, layer);
        assertNull(matrices.getLast());
        if (layer == 2) {
          assertEquals(roles(solved, layer), matrices.subList(0, matrices.size() - 1));
        }
      }
      fitted.stream()
          .filter(all -> all.role() == null)
          .forEach(all -> assertTrue(all.error() > 0 && all.error() < 1, all::toString));
    }
  }

  /** The matrices of a layer in the order in which they were fitted; null for all together. */
  private static List<LayerRole> roles(List<FitReport.Fitted> fitted, int layer) {
    List<LayerRole> roles = new ArrayList<>();
    fitted.stream().filter(one -> one.layer() == layer).forEach(one -> roles.add(one.role()));
    return roles;
  }

  /** Neither a longer nor a shorter final norm is closer to the original's predictions. */
  @Test
  void theFinalNormIsAsLongAsTheOriginalAsksFor() throws IOException {
    String name = "llama_tied_rope3";
    try (Backend backend = new ReferenceBackend(Compute.F32);
        Checkpoint model = Checkpoint.open(Fixtures.model(name));
        MemoryArena memory = new MemoryArena();
        CarryOver carryOver = carryOver(backend, model, fixtureText(name, model))) {
      FitText text = fixtureText(name, model);
      CollapsePlan plan = drop(model, 2, 3);
      CarryOver.Result result = fit(carryOver, plan, FitRule.REFINE, memory);
      String norm = model.config().architecture().finalNorm();
      HostTensor fitted = Objects.requireNonNull(result.tensors().find(norm));
      assertEquals(result.finalNorm(), factor(model.tensor(norm), fitted), 0x1p-8);
      PackedSequences heldOut =
          PackedSequences.of(
              CarryOver.heldOut(text.chunks()).stream().map(FitText.Chunk::ids).toList());
      double least = divergence(backend, model, plan, result.tensors(), heldOut);
      for (double other : new double[] {1 / 1.1, 1.1}) {
        HostTensor scaled = HostTensor.allocate(memory, norm, fitted.dtype(), fitted.shape());
        float[] values = Values.all(fitted);
        for (int i = 0; i < values.length; i++) {
          values[i] *= (float) other;
        }
        Values.store(values, scaled);
        double divergence =
            divergence(backend, model, plan, result.tensors().with(scaled), heldOut);
        assertTrue(least < divergence, other + ": " + least + ", " + divergence);
      }
    }
  }

  private static double divergence(
      Backend backend,
      Checkpoint model,
      CollapsePlan plan,
      NewWeights tensors,
      PackedSequences sequences) {
    try (PlannedLayers layers =
        new RunningModel(backend, model.config(), model).pruned(plan, tensors)) {
      CausalLm original = new RunningModel(backend, model.config(), model).original();
      return Objects.requireNonNull(
          ModelScore.of(original, layers.model(), sequences).language().kl());
    }
  }

  /** What helps the text that is fitted and makes other text worse is not used. */
  @Test
  void aMatrixThatHarmsOtherTextIsLeftAsItIs() {
    try (Backend backend = CpuBackend.open(Compute.F32, 2);
        Checkpoint model = Checkpoint.open(STORYTELLER);
        MemoryArena memory = new MemoryArena()) {
      FitText text = stories(model, 3072);
      try (CarryOver carryOver = carryOver(backend, model, text)) {
        // With small penalties, few tokens decide.
        CarryOver.Result result =
            carryOver.fit(
                drop(model, 8, 4), FitRule.REPAIR, 0.1, true, memory, (done, total) -> {});
        assertTrue(!result.fitted().isEmpty());
        result.fitted().forEach(matrix -> assertTrue(matrix.error() <= 1, matrix::toString));
        Set<LayerRole> left =
            result.leftAlone().stream()
                .map(FitReport.LeftAlone::role)
                .collect(Collectors.toCollection(() -> EnumSet.noneOf(LayerRole.class)));
        assertTrue(
            left.containsAll(
                Set.of(LayerRole.ATTENTION_INPUT_NORM, LayerRole.OUTPUT, LayerRole.DOWN)),
            left::toString);
        for (FitReport.LeftAlone matrix : result.leftAlone()) {
          assertTrue(
              result.fitted().stream()
                  .noneMatch(
                      fitted -> fitted.layer() == matrix.layer() && fitted.role() == matrix.role()),
              matrix::toString);
        }
      }
    }
  }

  @Test
  void aFitEndsWhereNoMoreLayersAreWanted() {
    try (Backend backend = CpuBackend.open(Compute.F32, 2);
        Checkpoint model = Checkpoint.open(STORYTELLER);
        MemoryArena memory = new MemoryArena();
        CarryOver carryOver = carryOver(backend, model, stories(model, 2048))) {
      List<Double> asked = new ArrayList<>();
      CarryOver.Progress progress =
          new CarryOver.Progress() {
            @Override
            public void update(long done, long total) {}

            @Override
            public boolean fitsMore(double seconds) {
              asked.add(seconds);
              return asked.size() < 3;
            }
          };
      CarryOver.Result result =
          carryOver.fit(drop(model, 2, 4), FitRule.REFINE, 1, true, memory, progress);
      // The layer in front of the gap, of which nobody is asked, and two layers behind it.
      assertEquals(
          Set.of(2, 3, 4),
          Stream.concat(
                  result.fitted().stream().map(FitReport.Fitted::layer),
                  result.leftAlone().stream().map(FitReport.LeftAlone::layer))
              .collect(Collectors.toSet()));
      assertEquals(3, asked.size());
      assertTrue(asked.stream().allMatch(seconds -> seconds > 0), asked::toString);
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
      assertTrue(fit(carryOver, plan, FitRule.REFINE, memory).tensors().isEmpty());
    }
  }

  private static CalibrationSet.Target target(Checkpoint model, Optional<Tokenizer> tokenizer) {
    return new CalibrationSet.Target(
        tokenizer,
        MissingTokenizer.OF_FOLDER,
        model.config().vocabSize(),
        model.config().maxPositionEmbeddings());
  }

  private static CollapsePlan drop(Checkpoint model, int base, int followers) {
    return CollapsePlan.identity(PlanApplier.source(model))
        .fold(base, followers, MergeRule.DROP, NormsPolicy.BASE);
  }

  private static CarryOver carryOver(Backend backend, Checkpoint model, FitText text) {
    return new CarryOver(new RunningModel(backend, model.config(), model), WholeText.of(text));
  }

  private static CarryOver.Result fit(
      CarryOver carryOver, CollapsePlan plan, FitRule rule, MemoryArena memory) {
    return carryOver.fit(plan, rule, 1, true, memory, (done, total) -> {});
  }

  /** The beginning of the demo model's own fit text. */
  private static FitText stories(Checkpoint model, int tokens) {
    try (Tokenizer tokenizer = Tokenizer.load(STORYTELLER).orElseThrow()) {
      return FitText.read(STORYTELLER.resolve("fit.txt"), target(model, Optional.of(tokenizer)))
          .limit(tokens);
    }
  }

  private FitText fixtureText(String name, Checkpoint model) throws IOException {
    StringBuilder json = new StringBuilder("[");
    for (int[] list : Fixtures.tokens(name, "calib")) {
      json.append(json.length() > 1 ? "," : "").append(Arrays.toString(list));
    }
    Path file = Files.writeString(folder.resolve(name + ".json"), json.append(']'));
    return FitText.read(file, target(model, Optional.empty()));
  }

  private static double nll(
      Backend backend,
      Checkpoint model,
      CollapsePlan plan,
      CarryOver.@org.jspecify.annotations.Nullable Result result,
      List<TextChunks.Chunk> chunks) {
    NewWeights tensors = result == null ? NewWeights.NONE : result.tensors();
    try (PlannedLayers layers =
        new RunningModel(backend, model.config(), model).pruned(plan, tensors)) {
      return nll(layers.model(), chunks);
    }
  }

  private static double nll(CausalLm model, List<TextChunks.Chunk> chunks) {
    return PerplexityMeasure.measure(model, chunks, (done, total) -> {}).meanNll();
  }

  private static byte[] bytes(HostTensor tensor) {
    return tensor.data().toArray(ValueLayout.JAVA_BYTE);
  }
}
