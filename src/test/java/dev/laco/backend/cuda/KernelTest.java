package dev.laco.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.abort;

import dev.laco.backend.cuda.Fatbin.Parameter;
import dev.laco.model.DType;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The table of kernels against the machine code that was built; no GPU is needed. */
class KernelTest {
  /** Every kernel must be there for each of these, beside the PTX. */
  private static final Set<Integer> ARCHITECTURES = Set.of(80, 90, 100, 120);

  /** Built and tested, and not called by an op yet. */
  private static final Pattern NOT_CALLED = Pattern.compile("laco_collapse_product_\\w+_v1");

  @ParameterizedTest
  @ValueSource(ints = {13, 12})
  void everyKernelHasTheParametersThatWePass(int cuda) {
    for (String file : Kernel.files()) {
      Map<Integer, Map<String, List<Parameter>>> built = read(cuda, file);
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

  @ParameterizedTest
  @ValueSource(ints = {13, 12})
  void everyKernelThatIsBuiltIsCalled(int cuda) {
    Set<String> built = new TreeSet<>();
    for (String file : Kernel.files()) {
      read(cuda, file).values().forEach(kernels -> built.addAll(kernels.keySet()));
    }
    for (Kernel kernel : Kernel.values()) {
      kernel.dtypes().forEach(dtype -> built.remove(kernel.entry(dtype)));
    }
    built.removeIf(NOT_CALLED.asMatchPredicate());
    assertEquals(Set.of(), built);
  }

  private static Map<Integer, Map<String, List<Parameter>>> read(int cuda, String file) {
    String fatbin = String.format(Locale.ROOT, "/dev/laco/cuda/%d/%s.fatbin", cuda, file);
    try (InputStream in = KernelTest.class.getResourceAsStream(fatbin)) {
      if (in == null) {
        assertFalse("true".equals(System.getenv("CI")), () -> fatbin + " was not built");
        return abort("no machine code was built: there is no nvcc");
      }
      return Fatbin.read(in.readAllBytes());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
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
