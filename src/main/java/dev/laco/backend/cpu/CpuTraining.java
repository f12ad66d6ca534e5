package dev.laco.backend.cpu;

import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import dev.laco.backend.AttentionSpec;
import dev.laco.backend.DeltaSpec;
import dev.laco.backend.DivergenceState;
import dev.laco.backend.Head;
import dev.laco.backend.MemoryBatch;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.MemoryTraining;
import dev.laco.backend.OpChecks;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.model.Activation;
import dev.laco.model.ClampedGate;
import dev.laco.model.DType;
import dev.laco.model.LogitSpec;
import dev.laco.model.NormSpec;
import dev.laco.model.RotaryPairs;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The ops of training on a CPU, as {@link CpuBackend} has the others. */
final class CpuTraining implements MemoryTraining, AutoCloseable {
  /** Bytes that {@link #distillationLoss} uses for the logits of both models of enough rows. */
  private static final long LOGITS_BYTES = 64L << 20;

  /** Rows that it computes at once at least: of fewer, products take longer to read the head. */
  private static final long LEAST_ROWS = 128;

  private final CpuBackend backend;
  private final CpuProducts products;
  private final Scratch attentionScratch = new Scratch();
  private final Scratch sums = new Scratch();
  private final Scratch logits = new Scratch();

  /** Training on the threads and with the kernels of a backend that owns these products. */
  CpuTraining(CpuBackend backend, CpuProducts products) {
    this.backend = backend;
    this.products = products;
  }

  @Override
  public long scratchBytes(long tokens, long vocabulary) {
    return vocabulary == 0 ? 0 : Math.min(tokens, rowsAtOnce(vocabulary)) * logitsBytes(vocabulary);
  }

  /** Rows of which the logits of both models are held at once. */
  private static long rowsAtOnce(long vocabulary) {
    return Math.max(LEAST_ROWS, LOGITS_BYTES / logitsBytes(vocabulary));
  }

  /** Bytes of the logits of both models of one row. */
  private static long logitsBytes(long vocabulary) {
    return 2 * Float.BYTES * vocabulary;
  }

  @Override
  public DType gradientType(Tensor weight) {
    return products.gradientType(MemoryTensor.of(weight));
  }

  @Override
  public void linearGradient(Tensor gradient, Tensor weight, boolean add, Tensor out) {
    OpChecks.linearGradient(gradient, weight, gradientType(weight), out);
    backend.kernels();
    products.applyTransposed(MemoryTensor.of(gradient), MemoryTensor.of(weight), add, data(out));
  }

  @Override
  public void addColumns(Tensor x, Tensor out) {
    OpChecks.addColumns(x, out);
    backend.kernels().addColumns(data(x), x.rows(), x.columns(), data(out));
  }

  @Override
  public void rmsNormGradient(
      Tensor x, Tensor weight, NormSpec norm, Tensor gradient, Tensor weightGradient, Tensor out) {
    OpChecks.rmsNormGradient(x, weight, gradient, weightGradient, out);
    normGradient(x, weight, norm, false, gradient, weightGradient, null, out);
  }

  @Override
  public void layerNormGradient(
      Tensor x,
      Tensor weight,
      NormSpec norm,
      Tensor gradient,
      Tensor weightGradient,
      @Nullable Tensor biasGradient,
      Tensor out) {
    OpChecks.layerNormGradient(x, weight, gradient, weightGradient, biasGradient, out);
    normGradient(x, weight, norm, true, gradient, weightGradient, biasGradient, out);
  }

  /** The gradients of both norms: an RMS norm is a layer norm that leaves the mean in its place. */
  private void normGradient(
      Tensor x,
      Tensor weight,
      NormSpec norm,
      boolean centred,
      Tensor gradient,
      Tensor weightGradient,
      @Nullable Tensor biasGradient,
      Tensor out) {
    CpuKernels kernels = backend.kernels();
    long floats = kernels.normGradientScratch(x.rows(), x.columns(), weight.rows());
    kernels.normGradient(
        data(x),
        data(weight),
        weight.dtype(),
        centred,
        norm,
        x.rows(),
        x.columns(),
        weight.rows(),
        data(gradient),
        sums.atLeast(floats * Float.BYTES),
        data(weightGradient),
        biasGradient == null ? MemorySegment.NULL : data(biasGradient),
        data(out));
  }

  @Override
  public void ropeGradient(
      Tensor gradient, RotaryPairs layout, int headDim, int table, TokenBatch batch) {
    backend.rotate(gradient, layout, headDim, table, batch, -1, gradient);
  }

  @Override
  public void attention(
      Tensor query,
      Tensor key,
      Tensor value,
      @Nullable Tensor sinks,
      AttentionSpec spec,
      TokenBatch batch,
      Tensor out,
      Tensor logSums) {
    OpChecks.attention(
        query, key, value, sinks, spec, batch, MemoryBatch.of(batch).keys(), out, logSums);
    backend.attend(query, key, value, sinks, spec, batch, out, data(logSums));
  }

  @Override
  public void attentionGradient(
      Tensor query,
      Tensor key,
      Tensor value,
      AttentionSpec spec,
      TokenBatch batch,
      Tensor out,
      Tensor logSums,
      Tensor gradient,
      Tensor queryGradient,
      Tensor keyGradient,
      Tensor valueGradient) {
    MemoryBatch sequences = MemoryBatch.of(batch);
    OpChecks.attentionGradient(
        query,
        key,
        value,
        spec,
        batch,
        sequences.keys(),
        out,
        logSums,
        gradient,
        queryGradient,
        keyGradient,
        valueGradient);
    CpuKernels kernels = backend.kernels();
    MemorySegment products = sums.atLeast(logSums.elements() * Float.BYTES);
    kernels.rowProducts(data(gradient), data(out), logSums.elements(), spec.headDim(), products);
    boolean inTiles = backend.multipliesTiles(spec);
    long floats = kernels.attentionGradientScratch(spec.headDim(), inTiles);
    kernels.attentionGradient(
        inTiles,
        data(query),
        data(key),
        data(value),
        spec.numHeads(),
        spec.numKeyValueHeads(),
        spec.headDim(),
        spec.slidingWindow(),
        spec.scores(),
        backend.slopes(spec),
        sequences.offsets(),
        batch.sequences().sequences(),
        data(logSums),
        products,
        data(gradient),
        attentionScratch.atLeast(backend.hostThreads() * floats * Float.BYTES),
        data(queryGradient),
        data(keyGradient),
        data(valueGradient));
  }

  @Override
  public void causalConvolutionGradient(
      Tensor x,
      Tensor weight,
      TokenBatch batch,
      Tensor gradient,
      @Nullable Tensor weightGradient,
      Tensor out) {
    OpChecks.causalConvolutionGradient(x, weight, batch, gradient, weightGradient, out);
    long width = weight.columns();
    backend
        .kernels()
        .causalConvolutionGradient(
            data(x),
            data(weight),
            x.columns(),
            width,
            MemoryBatch.of(batch),
            data(gradient),
            backend.convolutionScratch(width),
            dataOrNull(weightGradient),
            data(out));
  }

  @Override
  public void gatedDelta(
      Tensor heads,
      Tensor decay,
      Tensor rate,
      Tensor logDecay,
      Tensor decayBias,
      DeltaSpec spec,
      TokenBatch batch,
      Tensor out,
      Tensor errors) {
    OpChecks.gatedDelta(heads, decay, rate, logDecay, decayBias, spec, batch, null, out);
    OpChecks.gatedDelta(heads, decay, rate, logDecay, decayBias, spec, batch, null, errors);
    backend.attendByDelta(heads, decay, rate, logDecay, decayBias, spec, batch, null, out, errors);
  }

  @Override
  public void gatedDeltaGradient(
      Tensor heads,
      Tensor decay,
      Tensor rate,
      Tensor logDecay,
      Tensor decayBias,
      DeltaSpec spec,
      TokenBatch batch,
      Tensor errors,
      Tensor gradient,
      Tensor headsGradient,
      Tensor decayGradient,
      Tensor rateGradient,
      Tensor logDecayGradient) {
    OpChecks.gatedDeltaGradient(
        heads,
        decay,
        rate,
        logDecay,
        decayBias,
        spec,
        batch,
        errors,
        gradient,
        headsGradient,
        decayGradient,
        rateGradient,
        logDecayGradient);
    CpuKernels kernels = backend.kernels();
    long floats = kernels.gatedDeltaGradientScratch(spec);
    kernels.gatedDeltaGradient(
        data(heads),
        data(decay),
        data(rate),
        data(logDecay),
        data(decayBias),
        spec,
        MemoryBatch.of(batch),
        data(errors),
        data(gradient),
        attentionScratch.atLeast(backend.hostThreads() * floats * Float.BYTES),
        data(headsGradient),
        data(decayGradient),
        data(rateGradient),
        data(logDecayGradient));
  }

  @Override
  public void gatedGradients(
      Activation activation, Tensor gate, @Nullable Tensor up, Tensor gradient) {
    OpChecks.gatedGradients(gate, up, gradient);
    MemorySegment factors = up == null ? MemorySegment.NULL : data(up);
    backend
        .kernels()
        .gatedGradients(activation, data(gate), factors, data(gradient), gate.elements());
  }

  @Override
  public void clampedGateGradients(Tensor gateUp, ClampedGate gate, Tensor gradient) {
    OpChecks.clampedGateGradients(gateUp, gradient);
    backend.kernels().clampedGateGradients(data(gateUp), gradient.elements(), gate, data(gradient));
  }

  @Override
  public void rowProducts(Tensor a, Tensor b, Tensor out) {
    OpChecks.rowProducts(a, b, out);
    backend.kernels().rowProducts(data(a), data(b), a.rows(), a.columns(), data(out));
  }

  @Override
  public void distillationLoss(
      Tensor hidden,
      Tensor reference,
      Head head,
      TokenBatch batch,
      double labelShare,
      double scale,
      double[] losses,
      Tensor gradient) {
    MemoryBatch sequences = MemoryBatch.of(batch);
    OpChecks.distillationLoss(
        hidden, reference, head, batch, sequences.maxToken(), labelShare, losses, gradient);
    long most = rowsAtOnce(head.weight().rows());
    for (long from = 0; from < hidden.rows(); from += most) {
      long to = Math.min(hidden.rows(), from + most);
      lossOfRows(
          MemoryTensor.of(hidden).slice(from, to),
          MemoryTensor.of(reference).slice(from, to),
          head,
          sequences.targets().asSlice(from * Integer.BYTES, (to - from) * Integer.BYTES),
          labelShare,
          scale,
          MemorySegment.ofArray(losses).asSlice(from * Double.BYTES),
          data(gradient.slice(from, to)));
    }
  }

  /** Computes the losses and the gradient of rows whose logits of both models fit into memory. */
  private void lossOfRows(
      MemoryTensor hidden,
      MemoryTensor reference,
      Head head,
      MemorySegment targets,
      double labelShare,
      double scale,
      MemorySegment losses,
      MemorySegment gradient) {
    CpuKernels kernels = backend.kernels();
    MemoryTensor matrix = MemoryTensor.of(head.weight());
    long rows = hidden.rows();
    long vocabulary = matrix.rows();
    long bytes = rows * vocabulary * Float.BYTES;
    MemorySegment both = logits.atLeast(2 * bytes);
    MemorySegment scores = both.asSlice(0, bytes);
    MemorySegment expected = both.asSlice(bytes, bytes);
    backend.logits(reference, head, matrix, expected);
    MemorySegment factors = backend.logits(hidden, head, matrix, scores);
    MemorySegment state = sums.atLeast(rows * DivergenceState.BYTES);
    kernels.klDivergence(scores, expected, rows, vocabulary, 0, state);
    for (long row = 0; row < rows; row++) {
      double loss = (1 - labelShare) * DivergenceState.divergence(state, row);
      int target = targets.getAtIndex(JAVA_INT, row);
      if (target >= 0) {
        double logit = scores.getAtIndex(JAVA_FLOAT, row * vocabulary + target);
        loss += labelShare * (DivergenceState.logSum(state, row) - logit);
      }
      losses.setAtIndex(JAVA_DOUBLE, row, loss);
    }
    LogitSpec spec = head.unitRows() ? head.byInverseRms() : head.spec();
    kernels.distillationGradient(
        scores,
        expected,
        rows,
        vocabulary,
        state,
        targets,
        labelShare,
        factors,
        scale * spec.scale(),
        spec.softCap());
    products.applyTransposed(
        new MemoryTensor(hidden.dtype(), rows, vocabulary, scores), matrix, false, gradient);
  }

  @Override
  public double[] sumsOfSquares(List<Tensor> tensors) {
    OpChecks.sumsOfSquares(tensors);
    MemorySegment sum = sums.atLeast(Double.BYTES);
    return tensors.stream()
        .mapToDouble(
            x -> {
              backend.kernels().sumOfSquares(data(x), x.elements(), sum);
              return sum.get(JAVA_DOUBLE, 0);
            })
        .toArray();
  }

  @Override
  public void adamW(Update update, double epsilon) {
    backend
        .kernels()
        .adamW(
            update.step(),
            epsilon,
            data(update.gradient()),
            data(update.mean()),
            data(update.square()),
            dataOrNull(update.master()),
            data(update.weight()),
            update.weight().dtype(),
            update.gradient().elements());
  }

  @Override
  public void adamW8Bit(Update8Bit update) {
    backend
        .kernels()
        .adamW8Bit(
            update.step(),
            data(update.gradient()),
            data(update.moments()),
            dataOrNull(update.master()),
            data(update.weight()),
            update.weight().dtype(),
            update.gradient().elements());
  }

  private static MemorySegment dataOrNull(@Nullable Tensor tensor) {
    return tensor == null ? MemorySegment.NULL : data(tensor);
  }

  private static MemorySegment data(Tensor tensor) {
    return MemoryTensor.of(tensor).data();
  }

  @Override
  public void close() {
    attentionScratch.close();
    sums.close();
    logits.close();
  }
}
