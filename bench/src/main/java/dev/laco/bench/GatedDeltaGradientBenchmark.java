package dev.laco.bench;

import dev.laco.Compute;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.reference.ReferenceBackend;
import org.openjdk.jmh.annotations.Benchmark;

/** {@code gatedDeltaGradient} of packed sequences. */
public class GatedDeltaGradientBenchmark extends GatedDeltaCase {
  private MemoryTensor gradient;
  private Results results;

  /** Gradients by what the op reads. */
  private record Results(
      MemoryTensor heads, MemoryTensor decay, MemoryTensor rate, MemoryTensor logDecay) {}

  @Override
  void prepare() {
    gradient = random(heads.rows(), spec.values(), 6);
    results = results();
    attend(backend, out, errors);
    gatedDeltaGradient();
    Results expected = results();
    try (ReferenceBackend reference = new ReferenceBackend(Compute.F32)) {
      differentiate(reference, expected);
    }
    requireClose("gradients by heads", results.heads, expected.heads);
    requireClose("gradients by decays", results.decay, expected.decay);
    requireClose("gradients by rates", results.rate, expected.rate);
    requireClose("gradients by logarithms of decays", results.logDecay, expected.logDecay);
    // Ten products of a token's keys, values or gradients with states or gradients by them.
    work(
        bytes(heads, decay, rate, errors, gradient)
            + bytes(results.heads, results.decay, results.rate, results.logDecay),
        20.0 * heads.rows() * spec.states());
  }

  private Results results() {
    return new Results(
        zeros(spec.all()),
        zeros(spec.valueHeads()),
        zeros(spec.valueHeads()),
        zeros(spec.valueHeads()));
  }

  private void differentiate(Backend on, Results to) {
    on.training()
        .gatedDeltaGradient(
            heads,
            decay,
            rate,
            logDecay,
            decayBias,
            spec,
            batch,
            errors,
            gradient,
            to.heads,
            to.decay,
            to.rate,
            to.logDecay);
  }

  @Benchmark
  public void gatedDeltaGradient() {
    differentiate(backend, results);
  }
}
