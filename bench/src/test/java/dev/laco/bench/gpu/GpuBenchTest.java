package dev.laco.bench.gpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.laco.UsageException;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import picocli.CommandLine;

/** What the bench refuses before it opens a device. */
class GpuBenchTest {
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          --op search --shape Llama-3-8B     | --op search has the shapes of Llama-2-7B alone
          --op fit --shape Llama-2-7B        | --op fit has the shapes of Llama-3-8B alone
          --op launch --size tokens=5        | --op launch has no --size, which kernels have
          --op mix,search --size tokens=5    | --op search has no --size, which kernels have
          --op fit --quick --size tokens=5   | --op fit has no --size, which kernels have
          --op widen --dtype bf16            | --dtype goes together with --cubin
          """)
  void whatWouldChangeNothingIsRefused(String options, String expected) {
    GpuBench bench = new GpuBench();
    new CommandLine(bench)
        .setCaseInsensitiveEnumValuesAllowed(true)
        .parseArgs(options.trim().split(" "));
    UsageException refused = assertThrows(UsageException.class, bench::call);
    assertEquals(expected, refused.getMessage());
  }
}
