package dev.laco.bench.gpu;

import dev.laco.bench.Note;
import dev.laco.bench.Times;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.infra.BenchmarkParams;

/**
 * Kernels as the host sees them: launched, and waited for. What the device takes for it, by the
 * events that {@link GpuBench} goes by too, is told beside.
 */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
public class KernelBenchmark extends GpuCase {
  /** Any op's kernel by its name. */
  @Param({
    "laco_mix_bf16_v2",
    "laco_cosine_f32_v2",
    "laco_add_rms_norm_bf16_v1",
    "laco_rope_f32_v1",
    "laco_gated_activation_f32_v1",
    "laco_attention_bf16_v3",
    "laco_collapse_product_bf16_v2"
  })
  public String kernel;

  @Param("Llama-2-7B")
  public String model;

  /** Tokens of a {@code trial}, or a {@code large} number of them. */
  @Param("trial")
  public String tokens;

  private BenchDevice device;
  private Lab lab;
  private Job job;
  private Runnable work;
  private List<Note.Rates> ceilings;
  private final List<Double> deviceSeconds = new ArrayList<>();

  @Setup(Level.Trial)
  public void prepare() {
    device = open();
    Op op = Ops.all().stream().filter(o -> variant(o).isPresent()).findFirst().orElseThrow();
    Variant variant = variant(op).orElseThrow();
    BenchDevice.Function function = device.function(variant.file(), kernel);
    for (Sizes sizes : Sizes.VERIFIED.stream().filter(s -> op.takes(variant, s)).toList()) {
      try (Lab small = new Lab(device, true)) {
        Job verified = op.prepare(variant, sizes, small);
        verified.verify(verified.work(function));
      }
    }
    List<Sizes> timed = op.timed(Sizes.trial(model), Sizes.large(model));
    lab = new Lab(device, false);
    job = op.prepare(variant, tokens.equals("large") ? timed.getLast() : timed.getFirst(), lab);
    work = job.work(function);
    ceilings = new GpuCeilings(new Timing(device, device.isEmulated()), Watch.NONE).of(job);
  }

  private Optional<Variant> variant(Op op) {
    return op.variants().stream().filter(v -> v.name().equals(kernel)).findFirst();
  }

  /** As in a search, where other layers' weights come before. */
  @Setup(Level.Invocation)
  public void flush() {
    job.renew();
    if (!job.isCached()) {
      device.flush();
    }
    device.synchronize();
  }

  @Benchmark
  public void launchAndWait() {
    deviceSeconds.add(device.seconds(1, () -> {}, work)[0]);
  }

  @TearDown(Level.Trial)
  public void close(BenchmarkParams parameters) {
    lab.close();
    finish(
        parameters,
        device,
        job.read() + job.written(),
        job.operations(),
        ceilings,
        Map.of("device", Times.median(deviceSeconds)));
  }
}
