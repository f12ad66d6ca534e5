package dev.laco.bench;

import dev.laco.backend.AttentionSpec;
import dev.laco.backend.Backend;
import dev.laco.backend.Compute;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TokenBatch;
import dev.laco.model.Activation;
import dev.laco.model.HostTensor;
import dev.laco.model.PackedSequences;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** A backend that adds up how long each of its ops takes. */
final class TimedBackend implements Backend {
  private final Backend backend;
  private final Map<String, Long> nanoseconds = new TreeMap<>();

  TimedBackend(Backend backend) {
    this.backend = backend;
  }

  /** Nanoseconds by op since the last {@link #reset}. */
  Map<String, Long> nanoseconds() {
    return nanoseconds;
  }

  /** Starts from zero. */
  void reset() {
    nanoseconds.clear();
  }

  private void time(String op, Runnable run) {
    time(
        op,
        () -> {
          run.run();
          return op;
        });
  }

  private <T> T time(String op, Supplier<T> run) {
    long start = System.nanoTime();
    T result = run.get();
    nanoseconds.merge(op, System.nanoTime() - start, Long::sum);
    return result;
  }

  @Override
  public String device() {
    return backend.device();
  }

  @Override
  public Compute compute() {
    return backend.compute();
  }

  @Override
  public Tensor weight(HostTensor tensor) {
    return backend.weight(tensor);
  }

  @Override
  public TensorArena arena() {
    return backend.arena();
  }

  @Override
  public TokenBatch batch(PackedSequences sequences, float[] cosine, float[] sine) {
    return backend.batch(sequences, cosine, sine);
  }

  @Override
  public void embed(Tensor table, TokenBatch batch, Tensor out) {
    time("embed", () -> backend.embed(table, batch, out));
  }

  @Override
  public void rmsNorm(Tensor x, Tensor weight, double eps, Tensor out) {
    time("rmsNorm", () -> backend.rmsNorm(x, weight, eps, out));
  }

  @Override
  public void linear(Tensor x, Tensor weight, @Nullable Tensor bias, Tensor out) {
    time("linear", () -> backend.linear(x, weight, bias, out));
  }

  @Override
  public void rope(Tensor x, int headDim, TokenBatch batch) {
    time("rope", () -> backend.rope(x, headDim, batch));
  }

  @Override
  public void attention(
      Tensor query, Tensor key, Tensor value, AttentionSpec spec, TokenBatch batch, Tensor out) {
    time("attention", () -> backend.attention(query, key, value, spec, batch, out));
  }

  @Override
  public void gatedActivation(Activation activation, Tensor gate, Tensor up, Tensor out) {
    time("gatedActivation", () -> backend.gatedActivation(activation, gate, up, out));
  }

  @Override
  public void add(Tensor x, Tensor y) {
    time("add", () -> backend.add(x, y));
  }

  @Override
  public void mix(List<TensorMix> tensors) {
    time("mix", () -> backend.mix(tensors));
  }

  @Override
  public double[] cosine(Tensor a, Tensor b, TokenBatch batch) {
    return time("cosine", () -> backend.cosine(a, b, batch));
  }

  @Override
  public void logProbability(Tensor hidden, Tensor head, TokenBatch batch, double[] out) {
    time("logProbability", () -> backend.logProbability(hidden, head, batch, out));
  }

  @Override
  public void copy(Tensor from, Tensor to) {
    time("copy", () -> backend.copy(from, to));
  }

  @Override
  public void download(Tensor from, float[] to) {
    backend.download(from, to);
  }

  @Override
  public void upload(float[] from, Tensor to) {
    backend.upload(from, to);
  }

  @Override
  public void close() {
    backend.close();
  }
}
