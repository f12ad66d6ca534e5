package dev.laco.cli;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.ByteSize;
import dev.laco.ResourceException;
import dev.laco.SystemMemory;
import dev.laco.backend.Backend;
import dev.laco.backend.Compute;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.backend.cpu.CpuFeature;
import dev.laco.backend.cpu.CpuLibraries;
import dev.laco.backend.cpu.CpuTier;
import dev.laco.backend.cuda.CudaProbe;
import dev.laco.linalg.Cholesky;
import dev.laco.model.DType;
import java.util.Locale;
import java.util.StringJoiner;
import java.util.concurrent.Callable;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** Says what the engine finds on this machine. */
@Command(
    name = "doctor",
    description = "Say which devices and libraries are found, and where.",
    mixinStandardHelpOptions = true,
    customSynopsis = "laco doctor [OPTIONS]",
    versionProvider = Version.class,
    footer = {"", "Example:", "  laco doctor"})
final class DoctorCommand implements Callable<Integer> {
  @Mixin OutputOptions output;

  @Override
  public Integer call() {
    Console console = output.console();
    ObjectNode findings = machine();
    boolean cpu = isUsable("cpu", findings, DoctorCommand::cpu);
    boolean cuda =
        isUsable(
            "cuda",
            findings,
            json -> CudaProbe.report((name, text) -> json.put(name, OptionNames.in(text))));
    findings.put("OpenBLAS", openBlas());
    findings.put("reference", "plain Java, always there");
    if (output.json) {
      console.document(findings);
    } else {
      findings
          .properties()
          .forEach(
              f ->
                  console.result(
                      String.format(Locale.ROOT, "%-14s %s%n", f.getKey(), f.getValue().asText())));
    }
    return cpu || cuda ? 0 : 4;
  }

  /** Adds what {@code describe} finds of a device, the first line being whether it can be used. */
  private static boolean isUsable(
      String device, ObjectNode findings, Consumer<ObjectNode> describe) {
    findings.put(device, "usable");
    try {
      describe.accept(findings);
      return true;
    } catch (ResourceException e) {
      findings.put(device, "not usable: " + OptionNames.in(e.template()));
      return false;
    }
  }

  /** Only rules that fit weights need it, and not on a GPU with cuSOLVER. */
  private static String openBlas() {
    try {
      return Cholesky.library();
    } catch (ResourceException e) {
      return "not found: " + OptionNames.in(e.template());
    }
  }

  private static ObjectNode machine() {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("laco", new Version().getVersion()[0]);
    json.put("java", Runtime.version() + ", " + System.getProperty("java.home"));
    json.put("system", System.getProperty("os.name") + " " + System.getProperty("os.arch"));
    json.put("javaHeap", ByteSize.show(Runtime.getRuntime().maxMemory()));
    json.put("freeMemory", ByteSize.show(SystemMemory.available()));
    return json;
  }

  /** {@code bf16 products: faster than f32 here; f32 281 GFLOP/s, bf16 1,596 GFLOP/s}. */
  private static String products(Backend backend) {
    StringJoiner rates = new StringJoiner(", ", backend.describeProducts(DType.BF16) + "; ", "");
    backend
        .productRates()
        .forEach(
            (type, rate) ->
                rates.add(
                    String.format(Locale.ROOT, "%s %,.0f GFLOP/s", type.shortName(), rate / 1e9)));
    return rates.toString();
  }

  private static void cpu(ObjectNode json) {
    try (Backend backend = CpuBackend.open(Compute.AUTO, 0)) {
      json.put("cpu", backend.info().name());
      json.put(
          "cpuFeatures",
          CpuFeature.present().stream()
              .map(CpuFeature::toString)
              .collect(Collectors.joining(", ")));
      json.put("tier", CpuTier.describeSelected());
      json.put("products", products(backend));
      CpuLibraries libraries = CpuLibraries.get();
      json.put("kernels", libraries.kernels().location());
      json.put("oneDNN", libraries.oneDnn().location());
      json.put("OpenMP", libraries.openMp().location());
    }
  }
}
