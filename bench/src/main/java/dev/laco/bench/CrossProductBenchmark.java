package dev.laco.bench;

import dev.laco.backend.Backend;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.model.DType;
import java.util.List;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Setup;

/**
 * {@code crossProduct} as a fit needs it: the activated features of some tokens with themselves, as
 * wide as the feed-forward part of a model.
 */
public class CrossProductBenchmark extends Case {
  private static final double TOLERANCE = 1e-5;

  @Param({"SmolLM2-135M", "Llama-3.2-1B"})
  public String model;

  @Param({"bf16", "f32"})
  public String precision;

  @Param({"1024", "4096"})
  public int tokens;

  private Backend backend;
  private MemoryTensor features;
  private MemoryTensor sums;

  @Setup(Level.Trial)
  public void prepare() {
    Precision dtypes = Precision.of(precision);
    backend = open(dtypes.compute());
    long width = ModelShape.of(model).intermediateSize();
    features = Values.random(arena, DType.F32, tokens, width, 1, 1);
    sums = arena.allocate(DType.F32, width, width);
    backend.crossProduct(features, features, sums);
    verify();
    DType product = Device.of(device).product(dtypes);
    work(features.data().byteSize() + 2.0 * sums.data().byteSize(), 2.0 * tokens * sums.elements());
    ceilings()
        .products(
            "library alone",
            List.of(
                new Ceilings.Product(
                    Values.random(arena, product, width, tokens, 1, 3),
                    Values.random(arena, product, width, tokens, 1, 4))))
        .largeProduct(product);
  }

  /** The first, the middle and the last row, in full. */
  private void verify() {
    long width = sums.columns();
    try (ReferenceBackend reference = new ReferenceBackend(backend.compute())) {
      MemoryTensor column = arena.allocate(DType.F32, tokens, 1);
      for (long row : List.of(0L, width / 2, width - 1)) {
        for (long t = 0; t < tokens; t++) {
          column.set(t, features.get(t * width + row));
        }
        MemoryTensor expected = arena.allocate(DType.F32, 1, width);
        reference.crossProduct(column, features, expected);
        Values.requireClose("row " + row, sums.slice(row, row + 1), expected, TOLERANCE);
      }
    }
  }

  @Benchmark
  public void crossProduct() {
    backend.crossProduct(features, features, sums);
  }
}
