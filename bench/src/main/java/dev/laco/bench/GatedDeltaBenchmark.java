package dev.laco.bench;

import dev.laco.Compute;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.reference.ReferenceBackend;
import org.openjdk.jmh.annotations.Benchmark;

/** {@code gatedDelta} of packed sequences. */
public class GatedDeltaBenchmark extends GatedDeltaCase {
  @Override
  void prepare() {
    gatedDelta();
    MemoryTensor expected = zeros(spec.values());
    try (ReferenceBackend reference = new ReferenceBackend(Compute.F32)) {
      attend(reference, expected, zeros(spec.values()));
    }
    requireClose("out", out, expected);
    // What a key reads of the state, what is written to it, and what a query reads.
    work(bytes(heads, decay, rate, out), 6.0 * heads.rows() * spec.states());
  }

  @Benchmark
  public void gatedDelta() {
    backend.gatedDelta(heads, decay, rate, logDecay, decayBias, spec, batch, null, out);
  }
}
