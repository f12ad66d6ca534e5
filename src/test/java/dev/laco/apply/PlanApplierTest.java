package dev.laco.apply;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static java.util.stream.Collectors.toCollection;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.Fixtures;
import dev.laco.LacoException;
import dev.laco.ResourceException;
import dev.laco.UsageException;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.TestCheckpoints;
import dev.laco.collapse.Coefficients;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.model.Architecture;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.NewWeights;
import dev.laco.model.TensorSpec;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.lang.foreign.ValueLayout;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.LongConsumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class PlanApplierTest {
  private static final long ONE_FILE = Long.MAX_VALUE;

  @TempDir Path folder;

  static Stream<String> fixtures() {
    return Fixtures.merging();
  }

  @ParameterizedTest
  @MethodSource("fixtures")
  void copiedTensorsKeepEveryBitAndMixedOnesAreRoundedOnce(String name) {
    Path out = folder.resolve("out");
    try (Checkpoint model = Checkpoint.open(Fixtures.model(name))) {
      CollapsePlan plan = fold(model, "rdsc", NormsPolicy.MERGE);
      AtomicLong progress = new AtomicLong();
      PlanApplier applier = applier(model, plan, 100_000);
      write(applier, out, false, progress::addAndGet);
      try (Checkpoint pruned = Checkpoint.open(out)) {
        pruned.weightNames().forEach(pruned::requireFinite);
        assertEquals(plan.depth(), pruned.config().numHiddenLayers());
        assertEquals(pruned.totalBytes(), progress.get());
        assertEquals(pruned.totalBytes(), applier.tensorBytes());
        Architecture family = model.config().architecture();
        assertSameBytes(model, family.embedding(), pruned, family.embedding());
        for (String norm : family.finalNormTensors()) {
          assertSameBytes(model, norm, pruned, norm);
        }
        for (int i = 0; i < plan.depth(); i++) {
          LayerMix mix = plan.layers().get(i);
          for (TensorSpec spec : family.layerTensors(model.config(), mix.base())) {
            assertMixed(model, mix, spec, pruned, i);
          }
        }
      }
    }
  }

  private static PlanApplier applier(Checkpoint model, CollapsePlan plan, long maxShardSize) {
    return new PlanApplier(
        model, plan, new PlanTensors(NewWeights.NONE), maxShardSize, warning -> {});
  }

  private static void assertMixed(
      Checkpoint model, LayerMix mix, TensorSpec spec, Checkpoint pruned, int index) {
    Architecture family = model.config().architecture();
    String name = family.tensorName(index, spec);
    Map<Integer, Double> terms = mix.of(spec.group()).terms();
    if (terms.size() == 1) {
      String source = family.tensorName(terms.keySet().iterator().next(), spec);
      assertSameBytes(model, source, pruned, name);
      return;
    }
    HostTensor made = pruned.tensor(name);
    List<HostTensor> sources =
        terms.keySet().stream().map(layer -> model.tensor(family.tensorName(layer, spec))).toList();
    List<Double> factors = List.copyOf(terms.values());
    for (int i = 0; i < made.elements(); i++) {
      double sum = 0;
      for (int term = 0; term < sources.size(); term++) {
        double product = factors.get(term) * value(sources.get(term), i);
        sum = sum + product;
      }
      assertNearest(sum, made, i);
    }
  }

  /** The stored value is the nearest of its type, and the even one of two. */
  private static void assertNearest(double sum, HostTensor made, int i) {
    long bits = bits(made, i);
    double stored = value(made.dtype(), bits);
    for (long neighbour : new long[] {bits - 1, bits + 1}) {
      // The bits of zero have a neighbour of the other sign, or NaN, on one side.
      double value = value(made.dtype(), neighbour);
      if (Double.isFinite(value) && Math.signum(value) * Math.signum(sum) >= 0) {
        int nearer = compareDistances(sum, stored, value);
        assertTrue(nearer < 0 || (nearer == 0 && bits % 2 == 0), () -> made.name() + " at " + i);
      }
    }
  }

  /** Compares how far two values are from a sum: in exact decimals where f64 could be wrong. */
  private static int compareDistances(double sum, double one, double other) {
    double first = Math.abs(sum - one);
    double second = Math.abs(sum - other);
    // A difference of f64 is off by at most 2^-53 of itself.
    if (first < 0.99 * second || second < 0.99 * first) {
      return Double.compare(first, second);
    }
    BigDecimal exact = new BigDecimal(sum);
    BigDecimal error = exact.subtract(new BigDecimal(one)).abs();
    return error.compareTo(exact.subtract(new BigDecimal(other)).abs());
  }

  private static double value(DType dtype, long bits) {
    return switch (dtype) {
      case F32 -> Float.intBitsToFloat((int) bits);
      case F16 -> Float.float16ToFloat((short) bits);
      case BF16 -> Float.intBitsToFloat((int) bits << 16);
    };
  }

  private static long bits(HostTensor tensor, long i) {
    return tensor.dtype() == DType.F32
        ? tensor.data().getAtIndex(ValueLayout.JAVA_INT_UNALIGNED, i)
        : tensor.data().getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i);
  }

  private static double value(HostTensor tensor, long i) {
    return value(tensor.dtype(), bits(tensor, i));
  }

  private static void assertSameBytes(Checkpoint a, String name, Checkpoint b, String other) {
    HostTensor one = a.tensor(name);
    HostTensor two = b.tensor(other);
    assertEquals(one.dtype(), two.dtype());
    assertEquals(one.shape(), two.shape());
    assertEquals(-1, one.data().mismatch(two.data()), other);
  }

  /** Three layers folded into the third last but one, as a first step of the loop would. */
  private static CollapsePlan fold(Checkpoint model, String rule, NormsPolicy norms) {
    CollapsePlan plan = CollapsePlan.identity(PlanApplier.source(model));
    return plan.fold(plan.depth() - 4, 2, MergeRule.parse(rule), norms);
  }

  @Test
  void aPlanThatChangesNothingWritesTheSameModel() throws IOException {
    Path out = folder.resolve("out");
    try (Checkpoint model = Checkpoint.open(Fixtures.model("llama_linear"))) {
      CollapsePlan plan = CollapsePlan.identity(PlanApplier.source(model));
      write(applier(model, plan, ONE_FILE), out, false, bytes -> {});
      assertEquals(plan, CollapsePlan.parse("p", Files.readString(out.resolve("laco_plan.json"))));
      assertEquals(
          List.of("README.md", "config.json", "laco_plan.json", "model.safetensors"), names(out));
      assertArrayEquals(
          Files.readAllBytes(model.directory().resolve("model.safetensors")),
          Files.readAllBytes(out.resolve("model.safetensors")));
    }
  }

  @Test
  void theSamePlanGivesTheSameBytes() throws IOException {
    for (String rule : List.of("rdsc", "replace")) {
      try (Checkpoint model = Checkpoint.open(Fixtures.model("llama_tied_rope3"))) {
        CollapsePlan plan = fold(model, rule, NormsPolicy.MERGE);
        Path one = folder.resolve(rule + "1");
        Path two = folder.resolve("deeper/still/" + rule + "2");
        write(applier(model, plan, 200_000), one, false, bytes -> {});
        CollapsePlan read =
            CollapsePlan.parse("p", Files.readString(one.resolve("laco_plan.json")));
        write(applier(model, read, 200_000), two, false, bytes -> {});
        assertEquals(names(one), names(two));
        for (String name : names(one)) {
          assertEquals(-1, Files.mismatch(one.resolve(name), two.resolve(name)), name);
        }
      }
    }
  }

  @Test
  void aMixedTensorTakesTheTypeOfItsBase() throws IOException {
    // The norm of layer 1 is f32, everything else bf16.
    Path mixed = TestCheckpoints.copy("llama24_search", folder.resolve("m"));
    TestCheckpoints.widen(mixed, "model.layers.1.input_layernorm.weight");
    try (Checkpoint model = Checkpoint.open(mixed)) {
      CollapsePlan.Source source = PlanApplier.source(model);
      Coefficients second = Coefficients.of(1);
      CollapsePlan plan =
          new CollapsePlan(
              source, List.of(new LayerMix(0, second, second, second), LayerMix.original(1)));
      write(applier(model, plan, ONE_FILE), folder.resolve("out"), false, bytes -> {});
      try (Checkpoint pruned = Checkpoint.open(folder.resolve("out"))) {
        HostTensor norm = pruned.tensor("model.layers.0.input_layernorm.weight");
        assertEquals(DType.BF16, norm.dtype());
        assertEquals(DType.F32, pruned.tensor("model.layers.1.input_layernorm.weight").dtype());
        assertNearest(value(model.tensor("model.layers.1.input_layernorm.weight"), 3), norm, 3);
      }
    }
  }

  @Test
  void companionsComeAlongAndWeightsOfOtherFormatsDoNot() throws IOException {
    Path model = TestCheckpoints.copy("llama_linear", folder.resolve("m"));
    List<String> wanted =
        List.of(
            "LICENSE",
            "README.original.md",
            "chat_template.jinja",
            "generation_config.json",
            "merges.txt",
            "modeling_x.py",
            "tokenizer.json",
            "tokenizer.model",
            "tokenizer_config.json",
            "vocab.json");
    List<String> unwanted =
        List.of(
            "pytorch_model.bin",
            "consolidated.safetensors",
            "params.json",
            "m.gguf",
            "m.onnx",
            "adapter_model.safetensors",
            "adapter_config.json",
            "model.safetensors.index.json.bak",
            "laco_plan.json",
            "calibration.txt",
            "evaluation.txt",
            "fit.txt",
            ".gitattributes");
    for (String name : Stream.concat(wanted.stream(), unwanted.stream()).toList()) {
      Files.writeString(model.resolve(name), "content of " + name);
    }
    Files.createDirectory(model.resolve("original"));
    Files.createDirectory(model.resolve("tokenizer.txt"));
    TestCheckpoints.edit(
        model.resolve("config.json"), text -> text.replaceFirst("\\{", "{\"auto_map\": {},"));
    Path out = folder.resolve("out");
    apply(model, out, false);
    TreeSet<String> expected = new TreeSet<>(wanted);
    expected.addAll(List.of("README.md", "config.json", "laco_plan.json", "model.safetensors"));
    assertEquals(List.copyOf(expected), names(out));
    assertEquals("content of LICENSE", Files.readString(out.resolve("LICENSE")));

    TestCheckpoints.edit(
        model.resolve("config.json"), text -> text.replace("\"auto_map\": {},", ""));
    apply(model, folder.resolve("plain"), false);
    assertFalse(Files.exists(folder.resolve("plain/modeling_x.py")));
  }

  @Test
  void allFilesOfATokenizerComeAlongAndMayBeReplaced() throws IOException {
    Path model = TestCheckpoints.copy("llama_linear", folder.resolve("m"));
    List<String> wanted =
        List.of(
            "additional_chat_templates/rag.jinja",
            "encoder.json",
            "tokenization_x.py",
            "tokenizer.model.v3",
            "vocab.bpe");
    Files.createDirectory(model.resolve("additional_chat_templates"));
    for (String name : wanted) {
      Files.writeString(model.resolve(name), "content of " + name);
    }
    Files.writeString(model.resolve("additional_chat_templates/notes.txt"), "mine");
    Files.writeString(model.resolve("tokenizer_config.json"), "{\"auto_map\": {}}");
    Path out = folder.resolve("out");
    apply(model, out, false);
    for (String name : wanted) {
      assertEquals("content of " + name, Files.readString(out.resolve(name)));
    }
    assertEquals(List.of("rag.jinja"), names(out.resolve("additional_chat_templates")));
    apply(model, out, true);
    Files.writeString(out.resolve("additional_chat_templates/notes.txt"), "mine");
    assertUsage(model, out, true, "'additional_chat_templates' there is no file of one");
  }

  @Test
  void linksOfACacheAreFollowedAndCopiedAsFiles() throws IOException {
    Path blobs = TestCheckpoints.copy("llama_linear", folder.resolve("models--x/blobs"));
    Files.writeString(blobs.resolve("tokenizer.json"), "{}");
    Path snapshot = Files.createDirectories(folder.resolve("models--x/snapshots/abc"));
    for (String name : List.of("config.json", "model.safetensors", "tokenizer.json")) {
      Files.createSymbolicLink(snapshot.resolve(name), Path.of("../../blobs", name));
    }
    Path out = folder.resolve("out");
    apply(snapshot, out, false);
    for (String name : names(out)) {
      assertFalse(Files.isSymbolicLink(out.resolve(name)), name);
    }
    assertEquals("{}", Files.readString(out.resolve("tokenizer.json")));
    // To replace the folder that the links lead to would delete the model.
    assertUsage(snapshot, blobs, true, "holds the model's");
  }

  @Test
  void aLinkThatLeavesTheModelIsLeftOutAndSaid() throws IOException {
    Path key = Files.writeString(folder.resolve("id_ed25519"), "private");
    Path blobs = Files.createDirectories(folder.resolve("models--x/blobs"));
    Files.createSymbolicLink(blobs.resolve("toKey"), key);
    Path linkedBlobs = Files.createDirectories(folder.resolve("models--y"));
    Files.createSymbolicLink(linkedBlobs.resolve("blobs"), folder);
    // A plain folder, one in a cache, and one in a cache whose blobs are elsewhere.
    for (String place : List.of("plain", "models--x/snapshots/abc", "models--y/snapshots/abc")) {
      Path source = TestCheckpoints.copy("llama_linear", folder.resolve(place));
      Files.writeString(source.resolve("real.txt"), "x");
      Files.createSymbolicLink(source.resolve("LICENSE"), Path.of("real.txt"));
      Path up = source.relativize(folder);
      Files.createSymbolicLink(source.resolve("tokenizer.json"), up.resolve("id_ed25519"));
      Files.createSymbolicLink(source.resolve("vocab.json"), key);
      Files.createSymbolicLink(source.resolve("merges.txt"), up.resolve("models--x/blobs/toKey"));
      Files.createSymbolicLink(source.resolve("NOTICE"), up.resolve("models--y/blobs/id_ed25519"));
      Files.createSymbolicLink(source.resolve("USE_POLICY.md"), Path.of("gone"));
      List<String> warnings = new ArrayList<>();
      Path out = folder.resolve("out").resolve(place);
      try (Checkpoint model = Checkpoint.open(source)) {
        CollapsePlan plan = fold(model, "drop", NormsPolicy.BASE);
        new PlanApplier(model, plan, new PlanTensors(NewWeights.NONE), ONE_FILE, warnings::add)
            .write(out, false, bytes -> {});
      }
      for (String name : names(out)) {
        assertFalse(Files.readString(out.resolve(name), ISO_8859_1).contains("private"), name);
      }
      assertTrue(names(out).contains("LICENSE"));
      assertEquals(5, warnings.size(), warnings::toString);
      assertTrue(
          warnings.contains(
              source.resolve("USE_POLICY.md") + ": is a link to nothing, and is left out"),
          warnings::toString);
      assertEquals(
          source.resolve("NOTICE")
              + ": is a link to "
              + key.toRealPath()
              + ", outside the model, and is left out; if it belongs to the model, put a copy in"
              + " its place",
          warnings.getFirst());
    }
  }

  @Test
  void weightsAndConfigMayLieElsewhere() throws IOException {
    Path disk = TestCheckpoints.copy("llama_linear", folder.resolve("disk"));
    Path source = Files.createDirectory(folder.resolve("m"));
    for (String name : names(disk)) {
      Files.createSymbolicLink(source.resolve(name), disk.resolve(name));
    }
    apply(source, folder.resolve("out"), false);
    Checkpoint.open(folder.resolve("out")).close();
  }

  @Test
  void theTargetMustBeApartFromTheModel() throws IOException {
    Path model = TestCheckpoints.copy("llama_linear", folder.resolve("a/m"));
    assertUsage(model, model, true, "is itself the model");
    assertUsage(model, folder.resolve("a/../a/m/"), true, "is itself the model");
    assertUsage(model, model.resolve("deep/out"), false, "is inside the model");
    assertUsage(model, folder.resolve("a"), true, "holds the model's");
    Path link = Files.createSymbolicLink(folder.resolve("link"), model);
    assertUsage(model, link, true, "is itself the model");
    assertUsage(link, model.resolve("out"), false, "is inside the model");
    Path file = Files.writeString(folder.resolve("file"), "x");
    assertUsage(model, file, true, "exists and is not a folder");
    Path full = Files.createDirectory(folder.resolve("full"));
    Files.writeString(full.resolve("kept"), "x");
    assertUsage(model, full, false, "is not empty; use overwrite");
    assertEquals(List.of("kept"), names(full));
    assertEquals(List.of("m"), names(folder.resolve("a")));
  }

  @Test
  void anEmptyFolderIsFilledAndALinkedOneToo() throws IOException {
    Path empty = Files.createDirectory(folder.resolve("empty"));
    apply(Fixtures.model("llama_linear"), empty, false);
    Path other = Files.createDirectory(folder.resolve("other"));
    Path link = Files.createSymbolicLink(folder.resolve("link"), other);
    apply(Fixtures.model("llama_linear"), link, false);
    assertTrue(Files.isSymbolicLink(link));
    assertEquals(names(empty), names(other));
    assertEquals(List.of("empty", "link", "other"), names(folder));
  }

  @Test
  void overwriteReplacesACheckpointWholly() throws IOException {
    Path out = TestCheckpoints.copy("llama24_search", folder.resolve("out"));
    for (String name : List.of("README.md", "LICENSE", "tokenizer.json", "old.txt", "x.py")) {
      Files.writeString(out.resolve(name), "x");
    }
    Files.createDirectories(out.resolve(".cache/huggingface/download"));
    apply(Fixtures.model("llama_linear"), out, true);
    Checkpoint.open(out).close();
    assertFalse(Files.exists(out.resolve("old.txt")));
    assertEquals(List.of("out"), names(folder));
    // And what laco wrote.
    apply(Fixtures.model("llama_linear"), out, true);
  }

  @Test
  void overwriteReplacesNothingElse() throws IOException {
    Path thesis = Files.createDirectory(folder.resolve("thesis"));
    Files.writeString(thesis.resolve("notes.txt"), "x");
    assertKept(thesis, "there is no config.json with weights but 'notes.txt'");
    Path results = Files.createDirectory(folder.resolve("results"));
    TestCheckpoints.copy("llama_linear", results.resolve("one"));
    assertKept(results, "'one' there is no file of one");
    Path home = TestCheckpoints.copy("llama_linear", folder.resolve("home"));
    Files.createDirectories(home.resolve(".cache/huggingface"));
    Files.createDirectories(home.resolve(".cache/browser"));
    assertKept(home, "'.cache' there is no file of one");
    for (String name : List.of("thesis.tex", "model-q4.gguf", ".bashrc", "x.bin", "data")) {
      Path checkpoint = TestCheckpoints.copy("llama_linear", folder.resolve("with-" + name));
      Files.writeString(checkpoint.resolve(name), "x");
      assertKept(checkpoint, "'" + name + "' there is no file of one; move it away");
    }
    Path linked = TestCheckpoints.copy("llama_linear", folder.resolve("linked"));
    Files.createSymbolicLink(linked.resolve("folder"), thesis);
    assertKept(linked, "'folder' there is no file of one");
  }

  private void assertKept(Path out, String message) throws IOException {
    List<String> before = names(out);
    assertUsage(Fixtures.model("llama_untied_gqa"), out, true, message);
    assertEquals(before, names(out));
  }

  @Test
  void whatComesToTheTargetMeanwhileIsNotReplaced() throws IOException {
    Path out = TestCheckpoints.copy("llama_linear", folder.resolve("out"));
    try (Checkpoint model = Checkpoint.open(Fixtures.model("llama_untied_gqa"))) {
      CollapsePlan plan = fold(model, "drop", NormsPolicy.BASE);
      assertFails(
          UsageException.class,
          () ->
              applier(model, plan, ONE_FILE)
                  .write(
                      out,
                      true,
                      bytes -> {},
                      () -> TestCheckpoints.writeBytes(out.resolve("thesis.tex"), new byte[1])),
          "'thesis.tex' there is no file of one");
    }
    assertTrue(Files.exists(out.resolve("thesis.tex")));
    assertEquals(List.of("out"), names(folder));
  }

  @Test
  void aPlanForOtherWeightsOfTheSameShapesIsRefused() throws IOException {
    Path other = TestCheckpoints.copy("llama_linear", folder.resolve("other"));
    Path weights = other.resolve("model.safetensors");
    byte[] bytes = TestCheckpoints.read(weights);
    bytes[bytes.length - 5] ^= 1;
    TestCheckpoints.writeBytes(weights, bytes);
    try (Checkpoint one = Checkpoint.open(Fixtures.model("llama_linear"));
        Checkpoint tuned = Checkpoint.open(other)) {
      assertEquals(one.digest(), tuned.digest());
      CollapsePlan plan = CollapsePlan.identity(PlanApplier.source(one));
      assertFails(
          BadInputException.class,
          () -> applier(tuned, plan, ONE_FILE),
          "the checkpoint has the same shapes but other weights");
    }
  }

  @Test
  void aPlanThatDoesNotTellItsWeightsIsTakenWithAWarning() throws IOException {
    List<String> warnings = new ArrayList<>();
    try (Checkpoint model = Checkpoint.open(Fixtures.model("llama_linear"))) {
      CollapsePlan.Source source = PlanApplier.source(model);
      CollapsePlan old =
          CollapsePlan.identity(
              new CollapsePlan.Source(source.architecture(), source.layers(), source.digest()));
      assertEquals(old, CollapsePlan.parse("p", old.toJsonText()));
      PlanApplier applier =
          new PlanApplier(model, old, new PlanTensors(NewWeights.NONE), ONE_FILE, warnings::add);
      assertEquals(source, applier.plan().source());
    }
    assertEquals(1, warnings.size());
    assertTrue(warnings.getFirst().contains("only shapes and config were compared"));
  }

  @Test
  void aPlanForAnotherModelIsRefused() {
    try (Checkpoint one = Checkpoint.open(Fixtures.model("llama_linear"));
        Checkpoint other = Checkpoint.open(Fixtures.model("llama_untied_gqa"))) {
      CollapsePlan plan = CollapsePlan.identity(PlanApplier.source(one));
      var e = assertThrows(BadInputException.class, () -> applier(other, plan, ONE_FILE));
      assertTrue(e.getMessage().contains(one.digest()), e.getMessage());
      assertTrue(e.getMessage().contains(other.digest()), e.getMessage());
    }
  }

  @Test
  void aMixThatOverflowsLeavesNothing() throws IOException {
    try (Checkpoint model = Checkpoint.open(Fixtures.model("llama_mha_bias_f16"))) {
      Coefficients large = new Coefficients(new TreeMap<>(Map.of(0, 1e9, 1, 1.0)));
      CollapsePlan plan =
          new CollapsePlan(
              PlanApplier.source(model), List.of(new LayerMix(0, large, large, large)));
      assertFails(
          BadInputException.class,
          () -> write(applier(model, plan, ONE_FILE), folder.resolve("a/out"), false, b -> {}),
          "values that F16 cannot hold");
    }
    assertEquals(List.of(), names(folder));
  }

  @Test
  void whatFailsBeforeTheEndFailsTheWrite() throws IOException {
    try (Checkpoint model = Checkpoint.open(Fixtures.model("llama_linear"))) {
      PlanApplier applier = applier(model, fold(model, "replace", NormsPolicy.BASE), ONE_FILE);
      ResourceException failure = new ResourceException("the report cannot be written");
      ResourceException e =
          assertThrows(
              ResourceException.class,
              () ->
                  applier.write(
                      folder.resolve("out"),
                      false,
                      bytes -> {},
                      () -> {
                        throw failure;
                      }));
      assertSame(failure, e);
    }
    assertEquals(List.of(), names(folder));
  }

  @Test
  void whatWasMixedIsReadBackBeforeItGetsItsName() throws IOException {
    try (Checkpoint model = Checkpoint.open(Fixtures.model("llama_linear"))) {
      PlanApplier applier = applier(model, fold(model, "rdsc", NormsPolicy.MERGE), ONE_FILE);
      assertFails(
          ResourceException.class,
          () -> write(applier, folder.resolve("out"), false, bytes -> damageWhatIsWritten()),
          "cannot be read back as a model");
    }
    assertEquals(List.of(), names(folder));
  }

  /** Sets all weights of the file that is being written to NaN. */
  private void damageWhatIsWritten() {
    try {
      for (String name : names(folder)) {
        Path weights = folder.resolve(name, "model.safetensors");
        if (Files.exists(weights)) {
          try (RandomAccessFile file = new RandomAccessFile(weights.toFile(), "rw")) {
            long data = 8 + Long.reverseBytes(file.readLong());
            byte[] damaged = new byte[(int) (file.length() - data)];
            Arrays.fill(damaged, (byte) -1);
            file.seek(data);
            file.write(damaged);
          }
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Test
  void aModelThatIsTruncatedMeanwhileIsNoticedAndLeavesTheOldTarget() throws IOException {
    Path source = TestCheckpoints.copy("llama_linear", folder.resolve("m"));
    Path out = Files.createDirectory(folder.resolve("out"));
    Files.writeString(out.resolve("laco_plan.json"), "x");
    try (Checkpoint model = Checkpoint.open(source)) {
      CollapsePlan plan = fold(model, "rdsc", NormsPolicy.BASE);
      AtomicLong calls = new AtomicLong();
      assertFails(
          BadInputException.class,
          () ->
              write(
                  applier(model, plan, ONE_FILE),
                  out,
                  true,
                  bytes -> {
                    if (calls.incrementAndGet() == 3) {
                      shorten(source.resolve("model.safetensors"));
                    }
                  }),
          "do not change a checkpoint in use");
    }
    assertEquals(List.of("laco_plan.json"), names(out));
    assertEquals(List.of("m", "out"), names(folder));
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void whatADeadRunLeftIsRemovedOrPutBack(boolean targetMovedAway) throws IOException {
    Files.writeString(folder.resolve(".laco-0123.lock"), "victim");
    Files.createDirectories(folder.resolve(".laco-0123.new/x"));
    Files.createDirectories(folder.resolve(".laco-0123.old"));
    Files.writeString(folder.resolve(".laco-0123.old/kept"), "old");
    Files.writeString(folder.resolve(".laco-4567.lock"), "");
    if (!targetMovedAway) {
      Files.createDirectory(folder.resolve("victim"));
      Files.writeString(folder.resolve("victim/kept"), "new");
    }
    apply(Fixtures.model("llama_linear"), folder.resolve("out"), false);
    assertEquals(List.of("out", "victim"), names(folder));
    assertEquals(targetMovedAway ? "old" : "new", Files.readString(folder.resolve("victim/kept")));
  }

  @Test
  void aRunThatIsStillWritingIsLeftAlone() throws IOException {
    Path out = folder.resolve("out");
    try (Checkpoint model = Checkpoint.open(Fixtures.model("llama_linear"))) {
      CollapsePlan plan = fold(model, "rdsc", NormsPolicy.BASE);
      AtomicLong calls = new AtomicLong();
      write(
          applier(model, plan, ONE_FILE),
          out,
          false,
          bytes -> {
            if (calls.incrementAndGet() == 3) {
              apply(Fixtures.model("llama_linear"), folder.resolve("other"), false);
            }
          });
    }
    assertEquals(List.of("other", "out"), names(folder));
  }

  private static void shorten(Path file) {
    try (RandomAccessFile writable = new RandomAccessFile(file.toFile(), "rw")) {
      writable.setLength(writable.length() - 100);
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  private static void apply(Path source, Path out, boolean overwrite) {
    try (Checkpoint model = Checkpoint.open(source)) {
      CollapsePlan plan = fold(model, "replace", NormsPolicy.BASE);
      write(applier(model, plan, ONE_FILE), out, overwrite, bytes -> {});
    }
  }

  private static void write(
      PlanApplier applier, Path out, boolean overwrite, LongConsumer progress) {
    applier.write(out, overwrite, progress, () -> {});
  }

  private static void assertUsage(Path source, Path out, boolean overwrite, String message) {
    try (Checkpoint model = Checkpoint.open(source)) {
      assertFails(
          UsageException.class,
          () -> PlanApplier.checkTarget(model, out, overwrite, warning -> {}),
          message);
    }
    assertFails(UsageException.class, () -> apply(source, out, overwrite), message);
  }

  private static void assertFails(
      Class<? extends LacoException> type, Runnable action, String message) {
    LacoException e = assertThrows(type, action::run);
    assertTrue(e.getMessage().contains(message), e.getMessage());
    assertEquals(1, e.getMessage().lines().count(), e.getMessage());
  }

  /** Names in a folder, sorted, hidden ones too. */
  private static List<String> names(Path folder) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return List.copyOf(
          files.map(file -> file.getFileName().toString()).collect(toCollection(TreeSet::new)));
    }
  }
}
