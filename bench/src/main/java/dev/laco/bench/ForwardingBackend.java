package dev.laco.bench;

import dev.laco.Compute;
import dev.laco.DeviceInfo;
import dev.laco.backend.AttentionSpec;
import dev.laco.backend.Backend;
import dev.laco.backend.LinearSolver;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TokenBatch;
import dev.laco.model.Activation;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.PackedSequences;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** A backend that leaves everything to another; what extends it does some of it differently. */
public class ForwardingBackend implements Backend {
  private final Backend backend;

  public ForwardingBackend(Backend backend) {
    this.backend = backend;
  }

  @Override
  public DeviceInfo info() {
    return backend.info();
  }

  @Override
  public DType productType(DType weights) {
    return backend.productType(weights);
  }

  @Override
  public String describeProducts(DType weights) {
    return backend.describeProducts(weights);
  }

  @Override
  public double operationsPerSecond(DType productType) {
    return backend.operationsPerSecond(productType);
  }

  @Override
  public long scratchBytes(long buffers) {
    return backend.scratchBytes(buffers);
  }

  @Override
  public Compute compute() {
    return backend.compute();
  }

  @Override
  public int hostThreads() {
    return backend.hostThreads();
  }

  @Override
  public Tensor weight(HostTensor tensor) {
    return backend.weight(tensor);
  }

  @Override
  public void release(List<HostTensor> tensors) {
    backend.release(tensors);
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
    backend.embed(table, batch, out);
  }

  @Override
  public void rmsNorm(Tensor x, Tensor weight, double eps, Tensor out) {
    backend.rmsNorm(x, weight, eps, out);
  }

  @Override
  public void addRmsNorm(Tensor x, Tensor y, Tensor weight, double eps, Tensor out) {
    backend.addRmsNorm(x, y, weight, eps, out);
  }

  @Override
  public void linear(Tensor x, Tensor weight, @Nullable Tensor bias, Tensor out) {
    backend.linear(x, weight, bias, out);
  }

  @Override
  public void rope(Tensor x, int headDim, TokenBatch batch) {
    backend.rope(x, headDim, batch);
  }

  @Override
  public void normRope(
      Tensor x, @Nullable Tensor weight, double eps, int headDim, TokenBatch batch) {
    backend.normRope(x, weight, eps, headDim, batch);
  }

  @Override
  public void attention(
      Tensor query, Tensor key, Tensor value, AttentionSpec spec, TokenBatch batch, Tensor out) {
    backend.attention(query, key, value, spec, batch, out);
  }

  @Override
  public void gatedActivation(Activation activation, Tensor gate, Tensor up, Tensor out) {
    backend.gatedActivation(activation, gate, up, out);
  }

  @Override
  public void gatedSlopes(Activation activation, Tensor gate, Tensor up) {
    backend.gatedSlopes(activation, gate, up);
  }

  @Override
  public void add(Tensor x, Tensor y) {
    backend.add(x, y);
  }

  @Override
  public void multiply(Tensor x, Tensor y, Tensor out) {
    backend.multiply(x, y, out);
  }

  @Override
  public void mix(List<TensorMix> tensors) {
    backend.mix(tensors);
  }

  @Override
  public List<Tensor> mixed(List<TensorMix> tensors, long tokens) {
    return backend.mixed(tensors, tokens);
  }

  @Override
  public double[] cosine(Tensor reference, Tensor candidates, TokenBatch batch) {
    return backend.cosine(reference, candidates, batch);
  }

  @Override
  public void logProbability(Tensor hidden, Tensor head, TokenBatch batch, double[] out) {
    backend.logProbability(hidden, head, batch, out);
  }

  @Override
  public void klDivergence(
      Tensor hidden, Tensor reference, Tensor head, TokenBatch batch, double[] out) {
    backend.klDivergence(hidden, reference, head, batch, out);
  }

  @Override
  public void crossProduct(Tensor a, Tensor b, Tensor out) {
    backend.crossProduct(a, b, out);
  }

  @Override
  public void inverseRms(Tensor x, double floor, Tensor out) {
    backend.inverseRms(x, floor, out);
  }

  @Override
  public void scaledDifference(Tensor a, @Nullable Tensor b, Tensor scale, Tensor out) {
    backend.scaledDifference(a, b, scale, out);
  }

  @Override
  public void addSquares(Tensor x, Tensor out) {
    backend.addSquares(x, out);
  }

  @Override
  public @Nullable String missingForSolver() {
    return backend.missingForSolver();
  }

  @Override
  public LinearSolver solver() {
    return backend.solver();
  }

  @Override
  public void copy(Tensor from, Tensor to) {
    backend.copy(from, to);
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
  public DType mixedDType(DType source) {
    return backend.mixedDType(source);
  }

  @Override
  public void close() {
    backend.close();
  }
}
