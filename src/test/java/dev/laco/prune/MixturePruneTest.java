package dev.laco.prune;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.laco.Compute;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.ResourceException;
import dev.laco.TestFiles;
import dev.laco.backend.Backend;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.FitRule;
import dev.laco.evaluate.EvaluateJob;
import dev.laco.evaluate.EvaluateRequest;
import dev.laco.evaluate.EvaluateResult;
import dev.laco.measure.FidelityMeasure;
import dev.laco.model.HostTensor;
import dev.laco.model.NewWeights;
import dev.laco.model.TensorSpec;
import dev.laco.report.PruneReport;
import dev.laco.report.PruneSettings;
import dev.laco.text.TextChunks;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Layers with mixtures of experts are chosen in closed form and trained, as the default is. */
class MixturePruneTest {
  private static final DeviceSettings CPU = DeviceSettings.of("cpu").withCompute(Compute.F32);

  /** Token lists that are held out. */
  private static final int HELD = 8;

  @TempDir Path folder;

  private Path model(String name) {
    if (name.equals("mxfp4")) {
      return mildExperts();
    }
    return name.endsWith(".gguf")
        ? Fixtures.RESOURCES.resolve("gguf").resolve(name)
        : Fixtures.model(name);
  }

  /** A copy of the model in MXFP4 whose random experts are so small that it can run. */
  private Path mildExperts() {
    try {
      Path source = Fixtures.RESOURCES.resolve("quantised").resolve("mxfp4").resolve("model");
      Path copy = Files.createDirectory(folder.resolve("mild"));
      // With one expert for each token the router would have no gradient.
      TestFiles.write(
          copy.resolve("config.json"),
          Files.readString(source.resolve("config.json"))
              .replace("\"num_experts_per_tok\": 1", "\"num_experts_per_tok\": 2"));
      byte[] file = Files.readAllBytes(source.resolve("model.safetensors"));
      int header = (int) ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN).getLong();
      JsonNode tensors = new ObjectMapper().readTree(file, Long.BYTES, header);
      tensors
          .properties()
          .forEach(
              tensor -> {
                if (tensor.getKey().endsWith("_scales")) {
                  JsonNode place = tensor.getValue().get("data_offsets");
                  int data = Long.BYTES + header;
                  // 2^-7 each, as their exponents are stored.
                  Arrays.fill(
                      file,
                      data + place.get(0).intValue(),
                      data + place.get(1).intValue(),
                      (byte) (127 - 7));
                }
              });
      Files.write(copy.resolve("model.safetensors"), file);
      return copy;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static List<int[]> randomTokens(Model model, int count, int seed) {
    int vocabulary = model.config().vocabSize();
    Random random = new Random(seed);
    List<int[]> lists = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      lists.add(random.ints(32, 0, vocabulary).toArray());
    }
    return lists;
  }

  /** One layer less, by a text to fit on and by one that is held out. */
  private PruneRequest request(Model model) {
    return PruneRequest.of(Goal.layers(model.config().numHiddenLayers() - 1))
        .withFit(new FitSettings(file("fit.json", randomTokens(model, 64, 1)), null))
        .withTexts(
            new TextSettings(
                file("calibration.json", randomTokens(model, 4, 3)), null, heldOut(model)));
  }

  private Path heldOut(Model model) {
    return file("held.json", randomTokens(model, HELD, 2));
  }

  private static PruneReport pruned(
      Model model, DeviceSettings device, PruneRequest request, Path out) {
    try (PruneJob job = new PruneJob(model, device, request)) {
      PruneResult result = job.run();
      // A GGUF file has new matrices in 8 bits, if nobody says otherwise.
      boolean gguf = out.toString().endsWith(".gguf");
      result.writeTo(out, new WriteSettings(false, Long.MAX_VALUE, gguf ? GgufType.F32 : null));
      return result.report();
    }
  }

  private Path file(String name, List<int[]> lists) {
    return TestFiles.write(
        folder.resolve(name), lists.stream().map(Arrays::toString).toList().toString());
  }

  /** In memory in which layers can be removed. */
  @Test
  void whatTrainingNeedsIsSaidBeforeItBegins() {
    try (Model model = Model.open(model("mixtral"))) {
      DeviceSettings settings = CPU.withMemory(10_000_000L, null);
      PruneRequest request = request(model);
      ResourceException e =
          assertThrows(
              ResourceException.class,
              () -> pruned(model, settings, request, folder.resolve("out")));
      assertTrue(e.getMessage().startsWith("buffers need "), e::getMessage);
      assertTrue(
          e.getMessage().endsWith("or rule drop, which makes no weights anew"), e::getMessage);
      PruneRequest drop = request.withRule("drop");
      assertNull(pruned(model, settings, drop, folder.resolve("out")).fit());
    }
  }

  /** Experts in tensors of their own, in tensors of all, and in MXFP4; with a shared one. */
  @ParameterizedTest
  @CsvSource({
    "mixtral, out",
    "qwen3_moe, out",
    "olmoe, out",
    "gpt_oss, out",
    "qwen3_vl_moe, out",
    "granitemoe.f16.gguf, out",
    "qwen2_moe.f16.gguf, out",
    "mxfp4, out",
    "mixtral.q8_0.gguf, out.gguf",
    "gpt_oss.q8_0.gguf, out.gguf"
  })
  void theDefaultTrainsThemAndWritesWhatItMeasured(String name, String to) {
    Path out = folder.resolve(to);
    try (Model model = Model.open(model(name))) {
      PruneReport report = pruned(model, CPU, request(model), out);
      assertEquals(FitRule.RECONSTRUCT, Objects.requireNonNull(report.fit()).rule());
      assertTrue(report.settings().search() instanceof PruneSettings.Blocks);
      PruneReport.Measured measured = (PruneReport.Measured) report.quality();
      double unfitted = unfitted(model, report.plan());
      double fitted = measured.fidelity().divergence();
      assertTrue(fitted < unfitted, unfitted + " → " + fitted);
      try (Model pruned = Model.open(out)) {
        EvaluateResult.OfText evaluated =
            (EvaluateResult.OfText)
                new EvaluateJob(pruned, CPU, new EvaluateRequest.Tokens(heldOut(model))).run();
        assertEquals(measured.pruned().meanNll(), evaluated.perplexity().meanNll(), 1e-6);
      }
      if (to.equals("out")) {
        try (Checkpoint pruned = Checkpoint.open(out)) {
          assertEquals(List.of(), unchanged(model.checkpoint(), pruned, report.plan()));
        }
      }
    }
  }

  private static double unfitted(Model model, CollapsePlan plan) {
    List<int[]> held = randomTokens(model, HELD, 2);
    try (Backend backend = CpuBackend.open(Compute.F32, 0)) {
      RunningModel running = new RunningModel(backend, model.config(), model.checkpoint());
      try (PlannedLayers layers = running.pruned(plan.skeleton(), NewWeights.NONE);
          FidelityMeasure measure =
              new FidelityMeasure(running.original(), TextChunks.whole(held), false)) {
        return measure.measure(layers.model(), (_, _) -> {}).pruned().divergence();
      }
    }
  }

  /** The tensors in front of the first gap, of each expert by itself, that no value differs in. */
  private static List<String> unchanged(Checkpoint model, Checkpoint pruned, CollapsePlan plan) {
    int index = 0;
    while (plan.end(index) == plan.layers().get(index).base() + 1) {
      index++;
    }
    int base = plan.layers().get(index).base();
    List<String> unchanged = new ArrayList<>();
    for (TensorSpec spec : model.config().architecture().layerTensors(model.config(), base)) {
      HostTensor before = model.tensor(model.config().architecture().tensorName(base, spec));
      String name = model.config().architecture().tensorName(index, spec);
      HostTensor after = pruned.tensor(name);
      assertEquals(before.dtype(), after.dtype(), name);
      assertEquals(spec.shape(), after.shape(), name);
      for (TensorSpec.Part part : spec.parts()) {
        long row = before.data().byteSize() / spec.parts().getLast().to();
        long from = part.from() * row;
        long to = part.to() * row;
        if (MemorySegment.mismatch(before.data(), from, to, after.data(), from, to) < 0) {
          unchanged.add(name + " " + part);
        }
      }
    }
    return unchanged;
  }
}
