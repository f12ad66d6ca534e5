package dev.laco.apply;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.Fixtures;
import dev.laco.TestFiles;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.OutputTensor;
import dev.laco.checkpoint.SafetensorsWriter;
import dev.laco.checkpoint.Sha256;
import dev.laco.checkpoint.TestCheckpoints;
import dev.laco.checkpoint.TestTensors;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.CollapsePlan.NewTensors;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.model.Architecture;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.LayerRole;
import dev.laco.model.NewWeights;
import dev.laco.model.TensorSpec;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Plans with new tensors: in memory, in the file beside the plan, and in the checkpoint. */
class PlanTensorsTest {
  private static final String NAME = "llama_untied_gqa";
  private static final String DOWN = "model.layers.1.mlp.down_proj.weight";
  private static final String NORM = "model.norm.weight";

  @TempDir Path folder;

  static Stream<String> fixtures() {
    return Fixtures.fitting().filter(Fixtures.merging().toList()::contains);
  }

  /** Two layers folded into layer 1. */
  private static CollapsePlan plan(Checkpoint model) {
    return CollapsePlan.identity(PlanApplier.source(model))
        .fold(1, 2, MergeRule.parse("rdsc"), NormsPolicy.MERGE);
  }

  private static NewWeights weights(HostTensor... tensors) {
    NewWeights weights = NewWeights.NONE;
    for (HostTensor tensor : tensors) {
      weights = weights.with(tensor);
    }
    return weights;
  }

  private static void prune(Checkpoint model, NewWeights weights, long maxShardSize, Path out) {
    new PlanApplier(model, plan(model), new PlanTensors(weights), maxShardSize, warning -> {})
        .write(out, false, bytes -> {}, () -> {});
  }

  @ParameterizedTest
  @MethodSource("fixtures")
  void newTensorsStandInThePrunedModelAndThePlanReplaysThem(String name) throws IOException {
    for (long shardSize : new long[] {200_000, Long.MAX_VALUE}) {
      Path out = folder.resolve("out" + shardSize);
      NewWeights weights;
      try (Checkpoint model = Checkpoint.open(Fixtures.model(name))) {
        Architecture family = model.config().architecture();
        TensorSpec down = family.layerTensor(model.config(), 1, LayerRole.DOWN);
        List<String> names =
            List.of(family.tensorName(1, down), family.finalNorm(), family.embedding());
        weights =
            weights(
                names.stream()
                    .map(tensor -> TestTensors.changed(model.tensor(tensor), tensor))
                    .toArray(HostTensor[]::new));
        prune(model, weights, shardSize, out);
      }
      try (Checkpoint pruned = Checkpoint.open(out)) {
        for (HostTensor tensor : weights.tensors().values()) {
          assertEquals(-1, tensor.data().mismatch(pruned.tensor(tensor.name()).data()));
        }
      }
      Path plan = out.resolve(PlanApplier.PLAN);
      Path again = folder.resolve("again" + shardSize);
      Replay.apply(plan, Fixtures.model(name), again, shardSize);
      TestFiles.assertSameTree(out, again);
    }
  }

  @ParameterizedTest
  @CsvSource({"1000000000, model.safetensors", "200000, model.safetensors.index.json"})
  void inACheckpointTheyLieAmongItsWeightsAndNowhereElse(long shardSize, String container)
      throws IOException {
    Path out = folder.resolve("out");
    Path alone = folder.resolve("alone.safetensors");
    try (Checkpoint model = Checkpoint.open(Fixtures.model(NAME))) {
      prune(model, NewWeights.NONE, shardSize, folder.resolve("plain"));
      NewWeights weights = weights(TestTensors.changed(model.tensor(NORM), NORM));
      prune(model, weights, shardSize, out);
      new PlanTensors(weights).write(alone);
    }
    assertEquals(TestFiles.names(folder.resolve("plain")), TestFiles.names(out));
    NewTensors tensors =
        named(CollapsePlan.parse("p", Files.readString(out.resolve(PlanApplier.PLAN))));
    assertEquals(new NewTensors(container, Sha256.of(alone), List.of(NORM)), tensors);
  }

  @Test
  void otherWeightsThanThePlansInACheckpointAreNoticed() throws IOException {
    Path out = folder.resolve("out");
    try (Checkpoint model = Checkpoint.open(Fixtures.model(NAME))) {
      prune(model, weights(TestTensors.changed(model.tensor(NORM), NORM)), 200_000, out);
      try (Checkpoint plain = Checkpoint.open(out)) {
        Path holds = plain.file(NORM).path();
        byte[] bytes = TestCheckpoints.read(holds);
        bytes[(int) plain.file(NORM).info(NORM).offset() + 5] ^= 1;
        TestCheckpoints.writeBytes(holds, bytes);
      }
    }
    BadInputException e =
        assertThrows(
            BadInputException.class,
            () ->
                Replay.apply(
                    out.resolve(PlanApplier.PLAN), Fixtures.model(NAME), folder.resolve("x")));
    assertTrue(e.getMessage().contains("its tensors have sha256"), e::getMessage);
  }

  @Test
  void whatWasCheckedIsWhatIsUsedWhoeverRenamesMeanwhile() throws Exception {
    Path file = folder.resolve("t.safetensors");
    Path good = handMadeFile("good.safetensors", norm());
    HostTensor other = norm();
    other.data().setAtIndex(ValueLayout.JAVA_FLOAT, 5, 1);
    Path bad = handMadeFile("bad.safetensors", other);
    Files.createLink(file, good);
    CollapsePlan plan;
    try (Checkpoint model = Checkpoint.open(Fixtures.model(NAME))) {
      plan =
          plan(model).withTensors(new NewTensors("t.safetensors", Sha256.of(good), List.of(NORM)));
    }
    AtomicBoolean done = new AtomicBoolean();
    Thread swapper = Thread.ofPlatform().start(() -> swap(List.of(bad, good), file, done));
    try {
      for (int attempt = 0, opened = 0; attempt < 20_000 && opened < 300; attempt++) {
        try (PlanTensors tensors = PlanTensors.beside(folder.resolve("p.json"), plan)) {
          HostTensor found = Objects.requireNonNull(tensors.weights().find(NORM));
          assertEquals(0, found.data().getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, 5));
          opened++;
        } catch (BadInputException e) {
          assertTrue(String.valueOf(e.getMessage()).contains("sha256"), e.getMessage());
        }
      }
    } finally {
      done.set(true);
      swapper.join();
    }
  }

  private void swap(List<Path> contents, Path file, AtomicBoolean done) {
    Path next = folder.resolve("next");
    try {
      for (int i = 0; !done.get(); i++) {
        Files.createLink(next, contents.get(i % contents.size()));
        Files.move(next, file, StandardCopyOption.ATOMIC_MOVE);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Test
  void anOrdinaryPlanHasNone() {
    try (Checkpoint model = Checkpoint.open(Fixtures.model(NAME));
        PlanTensors none = PlanTensors.beside(folder.resolve("p.json"), plan(model))) {
      assertTrue(none.isEmpty());
      assertNull(none.named("x.safetensors"));
      assertEquals(0, none.fileSize());
    }
  }

  @Test
  void theFileIsTheSameWhereverItsTensorsLie() throws IOException {
    try (Checkpoint model = Checkpoint.open(Fixtures.model(NAME))) {
      PlanTensors memory = new PlanTensors(weights(model.tensor(DOWN), model.tensor(NORM)));
      Path one = folder.resolve("one.safetensors");
      memory.write(one);
      CollapsePlan plan = plan(model).withTensors(memory.named("one.safetensors"));
      assertEquals(memory.fileSize(), Files.size(one));
      assertEquals(Sha256.of(one), named(plan).sha256());
      assertEquals(List.of(DOWN, NORM), named(plan).names());
      try (PlanTensors file = PlanTensors.beside(folder.resolve("p.json"), plan)) {
        Path two = folder.resolve("two.safetensors");
        file.write(two);
        assertEquals(-1, Files.mismatch(one, two));
        assertEquals(named(plan), file.named("one.safetensors"));
      }
    }
  }

  private static NewTensors named(CollapsePlan plan) {
    NewTensors tensors = plan.tensors();
    if (tensors == null) {
      throw new AssertionError("no new tensors");
    }
    return tensors;
  }

  /** Writes a file of these tensors and a plan that names it; as a stranger might have made it. */
  private Path handMade(List<String> names, HostTensor... tensors) {
    return writePlan(names, Sha256.of(handMadeFile("t.safetensors", tensors)));
  }

  private Path handMadeFile(String name, HostTensor... tensors) {
    Path file = folder.resolve(name);
    new SafetensorsWriter(
            Arrays.stream(tensors)
                .map(t -> OutputTensor.of(t.name(), t.dtype(), t.shape(), t.data()))
                .toList())
        .write(file, bytes -> {});
    return file;
  }

  private Path writePlan(List<String> names, String sha256) {
    try (Checkpoint model = Checkpoint.open(Fixtures.model(NAME))) {
      CollapsePlan plan = plan(model).withTensors(new NewTensors("t.safetensors", sha256, names));
      return TestFiles.write(folder.resolve("p.json"), plan.toJsonText());
    }
  }

  private void assertRefused(Path plan, String message) {
    BadInputException e =
        assertThrows(
            BadInputException.class,
            () -> Replay.apply(plan, Fixtures.model(NAME), folder.resolve("out")));
    String expected = message.replace("FILE", folder.resolve("t.safetensors").toString());
    assertEquals(expected.replace("PLAN", plan.toString()), e.getMessage());
    assertTrue(Files.notExists(folder.resolve("out")));
  }

  private static HostTensor norm() {
    return TestTensors.zeros(NORM, DType.F32, 64L);
  }

  @Test
  void aMissingFileIsNamed() {
    Path plan = writePlan(List.of(NORM), "0".repeat(64));
    assertRefused(
        plan, "FILE: is missing; PLAN keeps its new tensors there: copy both files together");
  }

  @Test
  void anotherFileThanThePlansIsNoticed() {
    Path plan = handMade(List.of(NORM), norm());
    Path file = folder.resolve("t.safetensors");
    String before = Sha256.of(file);
    byte[] bytes = TestCheckpoints.read(file);
    bytes[bytes.length - 1] ^= 1;
    TestCheckpoints.writeBytes(file, bytes);
    assertRefused(
        plan,
        String.format(
            Locale.ROOT,
            "FILE: its tensors have sha256 %s, but PLAN was written with %s; copy both files together",
            Sha256.of(file),
            before));
  }

  @Test
  void aFileThatIsNoSafetensorsIsRefused() {
    Path file = TestFiles.write(folder.resolve("t.safetensors"), "no tensors");
    Path plan = writePlan(List.of(NORM), Sha256.of(file));
    BadInputException e =
        assertThrows(
            BadInputException.class,
            () ->
                PlanTensors.beside(
                    plan, CollapsePlan.parse("p", new String(TestCheckpoints.read(plan), UTF_8))));
    assertTrue(String.valueOf(e.getMessage()).startsWith(file.toString()), e.getMessage());
  }

  @Test
  void theFileHoldsTheTensorsThatThePlanNames() {
    assertRefused(handMade(List.of(DOWN, NORM), norm()), "FILE: tensor '" + DOWN + "' is missing");
  }

  @Test
  void aTensorThatThePrunedModelHasNotIsRefused() {
    // The original has a layer of this number, the pruned model has not.
    String name = "model.layers.7.mlp.down_proj.weight";
    assertRefused(
        handMade(List.of(name), TestTensors.zeros(name, DType.F32, 1L)),
        "FILE: tensor '" + name + "' is none of the pruned model's");
  }

  @Test
  void shapeAndTypeAreThoseOfThePrunedModel() {
    assertRefused(
        handMade(List.of(NORM), TestTensors.zeros(NORM, DType.F32, 1L)),
        "FILE: tensor 'model.norm.weight' is F32 [1], but the pruned model's is F32 [64]");
    TestCheckpoints.delete(folder.resolve("t.safetensors"));
    assertRefused(
        handMade(List.of(NORM), TestTensors.zeros(NORM, DType.BF16, 64L)),
        "FILE: tensor 'model.norm.weight' is BF16 [64], but the pruned model's is F32 [64]");
  }

  @Test
  void valuesAreFinite() {
    HostTensor tensor = norm();
    tensor.data().setAtIndex(ValueLayout.JAVA_FLOAT, 5, Float.POSITIVE_INFINITY);
    assertRefused(
        handMade(List.of(NORM), tensor),
        "FILE: tensor 'model.norm.weight' holds NaN or infinity at element 5 of 64");
  }

  @Test
  void aTensorInMemoryIsCheckedAlike() {
    try (Checkpoint model = Checkpoint.open(Fixtures.model(NAME))) {
      PlanTensors tensors = new PlanTensors(weights(TestTensors.zeros("odd", DType.F32, 1L)));
      BadInputException e =
          assertThrows(
              BadInputException.class,
              () -> new PlanApplier(model, plan(model), tensors, Long.MAX_VALUE, warning -> {}));
      assertEquals("new tensors: tensor 'odd' is none of the pruned model's", e.getMessage());
    }
  }
}
