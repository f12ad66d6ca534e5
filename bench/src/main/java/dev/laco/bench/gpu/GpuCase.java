package dev.laco.bench.gpu;

import dev.laco.CudaBinding;
import dev.laco.bench.Note;
import dev.laco.cli.JcudaFolder;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;
import org.openjdk.jmh.infra.BenchmarkParams;

/**
 * What the JMH benchmarks of a CUDA device share. A set-up method opens the device, a tear-down
 * method finishes.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 1, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public abstract class GpuCase {
  /** A {@link CudaBinding}. */
  @Param({"ffm", "jcuda"})
  public String binding;

  /** True if the device is the stand-in. */
  public static boolean isEmulated() {
    try (BenchDevice device = BenchDevice.open(CudaBinding.FFM, 0)) {
      return device.isEmulated();
    }
  }

  final BenchDevice open() {
    CudaBinding how = CudaBinding.valueOf(binding.toUpperCase(Locale.ROOT));
    if (how == CudaBinding.JCUDA) {
      JcudaFolder.make();
    }
    return BenchDevice.open(how, 0);
  }

  /** Writes down what JMH does not carry, and closes the device. */
  static void finish(
      BenchmarkParams parameters,
      BenchDevice device,
      double bytes,
      double operations,
      List<Note.Rates> ceilings,
      Map<String, Double> seconds) {
    new Note(parameters.id(), device.toString(), bytes, operations, ceilings, seconds, null)
        .write();
    device.close();
  }
}
