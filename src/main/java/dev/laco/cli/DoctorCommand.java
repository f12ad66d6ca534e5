package dev.laco.cli;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.ResourceException;
import dev.laco.backend.Backend;
import dev.laco.backend.Compute;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.backend.cpu.CpuFeature;
import dev.laco.backend.cpu.CpuLibraries;
import dev.laco.backend.cuda.CudaProbe;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** Says what the engine finds on this machine. */
@Command(
    name = "doctor",
    description = "Say which devices and libraries are found, and where.",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    footer = {"", "Example:", "  laco doctor"})
final class DoctorCommand implements Callable<Integer> {
  /** How a device begins that cannot be used; what is missing follows. */
  private static final String NOT_USABLE = "not usable: ";

  @Mixin OutputOptions output;

  @Override
  public Integer call() {
    Console console = output.console();
    ObjectNode findings = findings();
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
    return isUsable(findings, "cpu") || isUsable(findings, "cuda") ? 0 : 4;
  }

  private static boolean isUsable(ObjectNode findings, String device) {
    return !findings.path(device).asText().startsWith(NOT_USABLE);
  }

  private static ObjectNode findings() {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("laco", new Version().getVersion()[0]);
    json.put("java", Runtime.version() + ", " + System.getProperty("java.home"));
    json.put("system", System.getProperty("os.name") + " " + System.getProperty("os.arch"));
    json.put("javaHeap", ByteSize.show(Runtime.getRuntime().maxMemory()));
    json.put("freeMemory", ByteSize.show(MemoryBudget.available()));
    try (Backend backend = CpuBackend.open(Compute.AUTO, 0)) {
      json.put("cpu", backend.device());
      json.put(
          "cpuFeatures",
          CpuFeature.present().stream()
              .map(CpuFeature::toString)
              .collect(Collectors.joining(", ")));
      CpuLibraries libraries = CpuLibraries.get();
      json.put("kernels", libraries.kernels().location());
      json.put("oneDNN", libraries.oneDnn().location());
      json.put("OpenMP", libraries.openMp().location());
    } catch (ResourceException e) {
      json.put("cpu", NOT_USABLE + e.getMessage());
    }
    CudaProbe.report().forEach(json::put);
    json.put("reference", "plain Java, always there");
    return json;
  }
}
