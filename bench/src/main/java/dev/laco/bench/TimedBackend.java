package dev.laco.bench;

import dev.laco.backend.AttentionSpec;
import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TokenBatch;
import dev.laco.model.Activation;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** A backend that adds up how long each of its ops takes. */
final class TimedBackend extends ForwardingBackend {
  private final Map<String, Long> nanoseconds = new TreeMap<>();

  TimedBackend(Backend backend) {
    super(backend);
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
  public void embed(Tensor table, TokenBatch batch, Tensor out) {
    time("embed", () -> super.embed(table, batch, out));
  }

  @Override
  public void rmsNorm(Tensor x, Tensor weight, double eps, Tensor out) {
    time("rmsNorm", () -> super.rmsNorm(x, weight, eps, out));
  }

  @Override
  public void addRmsNorm(Tensor x, Tensor y, Tensor weight, double eps, Tensor out) {
    time("addRmsNorm", () -> super.addRmsNorm(x, y, weight, eps, out));
  }

  @Override
  public void linear(Tensor x, Tensor weight, @Nullable Tensor bias, Tensor out) {
    time("linear", () -> super.linear(x, weight, bias, out));
  }

  @Override
  public void rope(Tensor x, int headDim, TokenBatch batch) {
    time("rope", () -> super.rope(x, headDim, batch));
  }

  @Override
  public void normRope(
      Tensor x, @Nullable Tensor weight, double eps, int headDim, TokenBatch batch) {
    time("normRope", () -> super.normRope(x, weight, eps, headDim, batch));
  }

  @Override
  public void attention(
      Tensor query, Tensor key, Tensor value, AttentionSpec spec, TokenBatch batch, Tensor out) {
    time("attention", () -> super.attention(query, key, value, spec, batch, out));
  }

  @Override
  public void gatedActivation(Activation activation, Tensor gate, Tensor up, Tensor out) {
    time("gatedActivation", () -> super.gatedActivation(activation, gate, up, out));
  }

  @Override
  public void gatedSlopes(Activation activation, Tensor gate, Tensor up) {
    time("gatedSlopes", () -> super.gatedSlopes(activation, gate, up));
  }

  @Override
  public void add(Tensor x, Tensor y) {
    time("add", () -> super.add(x, y));
  }

  @Override
  public void multiply(Tensor x, Tensor y, Tensor out) {
    time("multiply", () -> super.multiply(x, y, out));
  }

  @Override
  public void mix(List<TensorMix> tensors) {
    time("mix", () -> super.mix(tensors));
  }

  @Override
  public List<Tensor> mixed(List<TensorMix> tensors, long tokens) {
    return time("mix", () -> super.mixed(tensors, tokens));
  }

  @Override
  public double[] cosine(Tensor a, Tensor b, TokenBatch batch) {
    return time("cosine", () -> super.cosine(a, b, batch));
  }

  @Override
  public void logProbability(Tensor hidden, Tensor head, TokenBatch batch, double[] out) {
    time("logProbability", () -> super.logProbability(hidden, head, batch, out));
  }

  @Override
  public void klDivergence(
      Tensor hidden, Tensor reference, Tensor head, TokenBatch batch, double[] out) {
    time("klDivergence", () -> super.klDivergence(hidden, reference, head, batch, out));
  }

  @Override
  public void crossProduct(Tensor a, Tensor b, Tensor out) {
    time("crossProduct", () -> super.crossProduct(a, b, out));
  }

  @Override
  public void inverseRms(Tensor x, double floor, Tensor out) {
    time("inverseRms", () -> super.inverseRms(x, floor, out));
  }

  @Override
  public void scaledDifference(Tensor a, @Nullable Tensor b, Tensor scale, Tensor out) {
    time("scaledDifference", () -> super.scaledDifference(a, b, scale, out));
  }

  @Override
  public void addSquares(Tensor x, Tensor out) {
    time("addSquares", () -> super.addSquares(x, out));
  }

  @Override
  public void copy(Tensor from, Tensor to) {
    time("copy", () -> super.copy(from, to));
  }
}
