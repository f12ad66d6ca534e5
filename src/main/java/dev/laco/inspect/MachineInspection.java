package dev.laco.inspect;

import dev.laco.ByteSize;
import dev.laco.Compute;
import dev.laco.LacoVersion;
import dev.laco.ResourceException;
import dev.laco.Setting;
import dev.laco.SystemMemory;
import dev.laco.backend.Backend;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.backend.cpu.CpuFeature;
import dev.laco.backend.cpu.CpuLibraries;
import dev.laco.backend.cpu.CpuTier;
import dev.laco.backend.cuda.CudaProbe;
import dev.laco.linalg.Cholesky;
import dev.laco.model.DType;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.StringJoiner;
import java.util.function.BiConsumer;
import java.util.function.Consumer;
import java.util.stream.Collectors;

/**
 * Which devices and native libraries the engine finds on this machine.
 *
 * @param findings in the order in which people read them
 * @param cpu whether the CPU backend can be used
 * @param cuda whether the first NVIDIA GPU can be used
 */
public record MachineInspection(List<Finding> findings, boolean cpu, boolean cuda) {
  /** An inspection with a copy of its findings. */
  public MachineInspection {
    findings = List.copyOf(findings);
  }

  /**
   * A thing that was looked for.
   *
   * @param name the name of the thing, such as {@code oneDNN}
   * @param template what was found, in words, with the marks of {@link Setting}s
   */
  public record Finding(String name, String template) {
    /** What was found, in words, with settings called by their names in requests. */
    public String text() {
      return Setting.show(template, name -> name);
    }
  }

  /** Looks at this machine: loads the native libraries and asks the NVIDIA driver, if any. */
  public static MachineInspection take() {
    Map<String, String> found = new LinkedHashMap<>();
    found.put("laco", LacoVersion.text());
    found.put("java", Runtime.version() + ", " + System.getProperty("java.home"));
    found.put("system", System.getProperty("os.name") + " " + System.getProperty("os.arch"));
    found.put("javaHeap", ByteSize.show(Runtime.getRuntime().maxMemory()));
    found.put("freeMemory", ByteSize.show(SystemMemory.available()));
    boolean cpu = isUsable("cpu", found, MachineInspection::cpu);
    boolean cuda = isUsable("cuda", found, CudaProbe::report);
    found.put("OpenBLAS", openBlas());
    found.put("reference", "plain Java, always there");
    return new MachineInspection(
        found.entrySet().stream().map(e -> new Finding(e.getKey(), e.getValue())).toList(),
        cpu,
        cuda);
  }

  /** Adds whether a device can be used, and behind that what {@code describe} finds of it. */
  private static boolean isUsable(
      String device, Map<String, String> found, Consumer<BiConsumer<String, String>> describe) {
    found.put(device, "usable");
    try {
      describe.accept(found::put);
      return true;
    } catch (ResourceException e) {
      found.put(device, "not usable: " + e.template());
      return false;
    }
  }

  private static void cpu(BiConsumer<String, String> say) {
    try (Backend backend = CpuBackend.open(Compute.AUTO, 0)) {
      say.accept("cpu", backend.info().name());
      say.accept(
          "cpuFeatures",
          CpuFeature.present().stream()
              .map(CpuFeature::toString)
              .collect(Collectors.joining(", ")));
      say.accept("tier", CpuTier.describeSelected());
      say.accept("products", products(backend));
      CpuLibraries libraries = CpuLibraries.get();
      say.accept("kernels", libraries.kernels().location());
      say.accept("oneDNN", libraries.oneDnn().location());
      say.accept("OpenMP", libraries.openMp().location());
    }
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

  /** Only rules that fit weights need OpenBLAS, and not on a GPU with cuSOLVER. */
  private static String openBlas() {
    try {
      return Cholesky.library();
    } catch (ResourceException e) {
      return "not found: " + e.template();
    }
  }
}
