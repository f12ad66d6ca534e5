package dev.laco.bench;

import dev.laco.backend.Backend;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.TensorMix;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSpec;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Setup;

/** {@code mix}: one whole layer merged from four by Eq. 1. */
public class MixBenchmark extends Case {
  private static final double[] COEFFICIENTS = {-2, 1, 1, 1};
  private static final int VERIFIED_ROWS = 16;

  @Param({"Llama-3.2-1B", "Llama-2-7B"})
  public String model;

  @Param({"bf16", "f16", "f32"})
  public String precision;

  private Backend backend;
  private List<TensorMix> tensors;

  @Setup(Level.Trial)
  public void prepare() {
    Precision dtypes = Precision.of(precision);
    backend = open(dtypes.compute());
    tensors = new ArrayList<>();
    ModelConfig config = ModelShape.of(model);
    long elements = 0;
    for (TensorSpec spec : config.architecture().layerTensors(config, 0)) {
      long rows = spec.shape().size() == 1 ? 1 : spec.shape().getFirst();
      long columns = spec.shape().getLast();
      List<MemoryTensor> sources =
          IntStream.range(0, COEFFICIENTS.length)
              .mapToObj(seed -> Values.random(arena, dtypes.weights(), rows, columns, 1, seed))
              .toList();
      tensors.add(
          new TensorMix(
              arena.allocate(dtypes.weights(), rows, columns), COEFFICIENTS, List.copyOf(sources)));
      elements += rows * columns;
    }
    backend.mix(tensors);
    verify();
    work(
        (COEFFICIENTS.length + 1.0) * elements * dtypes.weights().byteSize(),
        2.0 * COEFFICIENTS.length * elements);
    ceilings().copy().combine(COEFFICIENTS.length);
  }

  /** Bit for bit, on rows from the first to the last of every tensor. */
  private void verify() {
    try (ReferenceBackend reference = new ReferenceBackend(backend.compute())) {
      for (TensorMix mix : tensors) {
        long rows = mix.out().rows();
        var expected = arena.allocate(mix.out().dtype(), 1, mix.out().columns());
        for (int i = 0; i < VERIFIED_ROWS; i++) {
          long row = (rows - 1) * i / (VERIFIED_ROWS - 1);
          reference.mix(
              List.of(
                  new TensorMix(
                      expected,
                      mix.coefficients(),
                      mix.sources().stream().map(source -> source.slice(row, row + 1)).toList())));
          Values.requireSame("row " + row, mix.out().slice(row, row + 1), expected);
        }
      }
    }
  }

  @Benchmark
  public void mix() {
    backend.mix(tensors);
  }
}
