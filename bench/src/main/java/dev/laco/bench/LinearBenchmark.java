package dev.laco.bench;

import dev.laco.backend.Backend;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.model.DType;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSpec;
import java.util.List;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Setup;

/** {@code linear} with a projection of a layer, for as many tokens as a calibration set has. */
public class LinearBenchmark extends Case {
  private static final double TOLERANCE = 1e-5;

  @Param({"SmolLM2-135M", "Llama-3.2-1B", "Llama-2-7B"})
  public String model;

  /** A {@link LayerRole}. */
  @Param("UP")
  public String projection;

  @Param({"bf16", "bf16-as-f32", "f16", "f32"})
  public String precision;

  @Param("389")
  public int tokens;

  private Backend backend;
  private MemoryTensor x;
  private MemoryTensor weight;
  private MemoryTensor out;

  @Setup(Level.Trial)
  public void prepare() {
    Precision dtypes = Precision.of(precision);
    backend = open(dtypes.compute());
    ModelConfig config = ModelShape.of(model);
    LayerRole role = LayerRole.valueOf(projection);
    TensorSpec spec = config.architecture().layerTensor(config, 0, role);
    long width = spec.shape().getFirst();
    long in = spec.shape().getLast();
    x = Values.random(arena, DType.F32, tokens, in, 1, 1);
    weight = Values.random(arena, dtypes.weights(), width, in, 1, 2);
    out = arena.allocate(DType.F32, tokens, width);
    backend.linear(x, weight, null, out);
    verify();
    DType product = Device.of(device).product(dtypes);
    work(
        (double) (x.data().byteSize() + weight.data().byteSize() + out.data().byteSize()),
        2.0 * tokens * weight.elements());
    ceilings()
        .products(
            "library alone",
            List.of(
                new Ceilings.Product(
                    Values.random(arena, product, tokens, in, 1, 3),
                    Values.random(arena, product, width, in, 1, 4))))
        .largeProduct(product);
  }

  /** The first, the middle and the last row, in full. */
  private void verify() {
    try (ReferenceBackend reference = new ReferenceBackend(backend.compute())) {
      MemoryTensor expected = arena.allocate(DType.F32, 1, out.columns());
      for (long row : List.of(0L, tokens / 2L, tokens - 1L)) {
        reference.linear(x.slice(row, row + 1), weight, null, expected);
        Values.requireClose("row " + row, out.slice(row, row + 1), expected, TOLERANCE);
      }
    }
  }

  @Benchmark
  public void linear() {
    backend.linear(x, weight, null, out);
  }
}
