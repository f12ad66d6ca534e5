package dev.laco.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.abort;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.laco.backend.AttentionSpec;
import dev.laco.backend.cuda.Fatbin.Parameter;
import dev.laco.model.DType;
import dev.laco.model.LogitSpec;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** The table of kernels against the machine code that was built; no GPU is needed. */
class KernelTest {
  /** Every kernel must be there for each of these, beside the PTX. */
  private static final Set<Integer> ARCHITECTURES = Set.of(80, 90, 100, 120);

  @Test
  void everyKernelHasTheParametersThatWePass() {
    for (String file : Kernel.files()) {
      Map<Integer, Map<String, List<Parameter>>> built = read(file);
      assertTrue(built.keySet().containsAll(ARCHITECTURES), file + " is for " + built.keySet());
      for (Kernel kernel : Kernel.values()) {
        if (kernel.file().equals(file)) {
          for (DType dtype : kernel.dtypes()) {
            String entry = kernel.entry(dtype);
            built.forEach(
                (architecture, kernels) ->
                    assertEquals(
                        packed(kernel), kernels.get(entry), entry + " of sm_" + architecture));
          }
        }
      }
    }
  }

  /**
   * From these numbers {@code scripts/check_fatbins} reckons how many blocks are on a
   * multiprocessor.
   */
  @Test
  void theTableOfBlocksSaysHowKernelsAreLaunched() throws IOException {
    Path document = Path.of("docs/kernels.md");
    assumeTrue(Files.exists(document), "archives have no documents");
    Map<String, String> launches = new TreeMap<>();
    for (int width : new int[] {64, 128, 256}) {
      AttentionSpec spec = new AttentionSpec(1, 1, width, 0, LogitSpec.PLAIN, DType.BF16);
      for (AttentionLaunch launch :
          List.of(
              AttentionLaunch.of(spec),
              AttentionLaunch.ofGradient(spec, true),
              AttentionLaunch.ofGradient(spec, false))) {
        if (launch.dtype() == DType.BF16) {
          launches.put(
              launch.kernel().entry(DType.BF16), launch.block() + " " + launch.sharedBytes());
        }
      }
    }
    launches.put(
        Kernel.COLLAPSE_PRODUCT.entry(DType.BF16),
        CollapseProduct.BLOCK + " " + CollapseProduct.SHARED_BYTES);
    Map<String, String> table = new TreeMap<>();
    Pattern.compile("(?m)^\\| `(laco_\\S+)` \\| (\\d+) \\| (\\d+) \\|(?: \\d+ \\|)+$")
        .matcher(Files.readString(document))
        .results()
        .forEach(
            row ->
                table.put(
                    row.group(1).replace("<bf16\\|f16>", "bf16"),
                    row.group(2) + " " + row.group(3)));
    assertEquals(launches, table);
  }

  @Test
  void everyKernelThatIsBuiltIsCalled() {
    Set<String> built = new TreeSet<>();
    for (String file : Kernel.files()) {
      read(file).values().forEach(kernels -> built.addAll(kernels.keySet()));
    }
    for (Kernel kernel : Kernel.values()) {
      kernel.dtypes().forEach(dtype -> built.remove(kernel.entry(dtype)));
    }
    assertEquals(Set.of(), built);
  }

  @Test
  void aDriverThatIsTooOldForTheKernelsIsToldSo() {
    KernelImages images = new KernelImages(Optional.empty(), 13, 12_080);
    NoCudaException e = assertThrows(NoCudaException.class, images::require);
    assertEquals(
        "the CUDA kernels of this build need a driver of CUDA 13 or newer, this one supports"
            + " CUDA 12.8",
        e.reason());
    assertTrue(e.getMessage().contains("update the driver to 580 or newer"), e.getMessage());
  }

  private static Map<Integer, Map<String, List<Parameter>>> read(String file) {
    try (InputStream in = open(file)) {
      if (in == null) {
        assertFalse("true".equals(System.getenv("CI")), () -> file + ".fatbin was not built");
        return abort("no machine code was built: there is no CUDA compiler");
      }
      return Fatbin.read(in.readAllBytes());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The fatbin of the jar, for drivers from CUDA 12 or from CUDA 13 on. */
  private static @Nullable InputStream open(String file) {
    return Stream.of("12", "13")
        .map(cuda -> "/dev/laco/cuda/" + cuda + "/" + file + ".fatbin")
        .map(KernelTest.class::getResourceAsStream)
        .filter(Objects::nonNull)
        .findFirst()
        .orElse(null);
  }

  /** Where the packed arguments of a launch lie. */
  private static List<Parameter> packed(Kernel kernel) {
    List<Parameter> parameters = new ArrayList<>();
    int end = 0;
    for (Kernel.Parameter parameter : kernel.parameters()) {
      int size = parameter.byteSize();
      int offset = (end + size - 1) / size * size;
      parameters.add(new Parameter(offset, size));
      end = offset + size;
    }
    return parameters;
  }
}
