package dev.laco.backend;

import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.PackedSequences;
import dev.laco.model.RouterSpec;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * Checks of the arguments of ops. Every backend calls them before it touches memory, so that all
 * backends refuse the same calls with the same messages. Each check is named after its op and
 * throws {@link IllegalArgumentException}.
 */
public final class OpChecks {
  private OpChecks() {}

  /** See {@link DeviceMemory#batch}. */
  public static void batch(PackedSequences sequences, int tables, float[] cosine, float[] sine) {
    if (sequences.size() < 1
        || tables < 0
        || cosine.length != sine.length
        || (tables == 0 && cosine.length > 0)
        || (tables > 0 && cosine.length % ((long) tables * sequences.size()) != 0)) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "%d cosines and %d sines in %d tables for %d tokens",
              cosine.length,
              sine.length,
              tables,
              sequences.size()));
    }
    for (int token : sequences.tokens()) {
      if (token < 0) {
        throw new IllegalArgumentException("token id " + token + " is negative");
      }
    }
  }

  /** See {@link Tensor#view}. */
  public static void view(Tensor tensor, DType dtype, long rows, long columns) {
    long bytes = MemoryTensor.byteSize(dtype, rows, columns);
    if (bytes > MemoryTensor.byteSize(tensor.dtype(), tensor.rows(), tensor.columns())) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "%s [%d, %d] is larger than %s [%d, %d]",
              dtype,
              rows,
              columns,
              tensor.dtype(),
              tensor.rows(),
              tensor.columns()));
    }
  }

  /** See {@link ForwardOps#embed}. */
  public static void embed(Tensor table, TokenBatch batch, int maxToken, Tensor out) {
    shape("out", out, batch.sequences().size(), table.columns());
    activation("out", out);
    vocabulary(maxToken, table);
  }

  /** See {@link ForwardOps#rmsNorm}. */
  public static void rmsNorm(Tensor x, Tensor weight, Tensor out) {
    activation("x", x);
    shape("weight", weight, 1, x.columns());
    shape("out", out, x.rows(), x.columns());
  }

  /** See {@link ForwardOps#layerNorm}. */
  public static void layerNorm(Tensor x, Tensor weight, @Nullable Tensor bias, Tensor out) {
    activation("x", x);
    if (bias != null && bias.dtype() != weight.dtype()) {
      activation("out", out);
    }
    if (x.rows() % weight.rows() != 0) {
      throw new IllegalArgumentException(weight.rows() + " rows of weights for " + x.rows());
    }
    shape("weight", weight, weight.rows(), x.columns());
    shape("out", out, x.rows(), x.columns());
    if (bias != null) {
      shape("bias", bias, weight.rows(), x.columns());
    }
  }

  /** See {@link ForwardOps#addLayerNorm}. */
  public static void addLayerNorm(
      Tensor x, Tensor y, Tensor weight, @Nullable Tensor bias, Tensor out) {
    add(x, y);
    shape("weight", weight, 1, x.columns());
    layerNorm(x, weight, bias, out);
  }

  /**
   * See {@link ForwardOps#linear}.
   *
   * @param input what {@link ForwardOps#inputType} says
   */
  public static void linear(
      Tensor x, Tensor weight, @Nullable Tensor bias, DType input, Tensor out) {
    rounded("x", x, input);
    shape("weight", weight, out.columns(), x.columns());
    shape("out", out, x.rows(), weight.rows());
    if (bias != null) {
      shape("bias", bias, 1, weight.rows());
    }
  }

  /** See {@link ForwardOps#linearTransposed}. */
  public static void linearTransposed(Tensor x, Tensor weight, @Nullable Tensor bias, Tensor out) {
    activation("x", x);
    activation("out", out);
    shape("weight", weight, x.columns(), out.columns());
    shape("out", out, x.rows(), weight.columns());
    if (bias != null) {
      shape("bias", bias, 1, weight.columns());
    }
  }

  /** See {@link ForwardOps#rope}. */
  public static void rope(Tensor x, int headDim, int table, TokenBatch batch, Tensor out) {
    activation("x", x);
    if (table < 0 || table >= batch.rotaryTables()) {
      throw new IllegalArgumentException(
          "rope: no table " + table + " of " + batch.rotaryTables() + " tables");
    }
    if (headDim < 1 || x.columns() % headDim != 0 || 2 * batch.rotaryPairs() > headDim) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "rope: heads of %d do not divide %d columns or are narrower than 2 x %d rotated",
              headDim,
              x.columns(),
              batch.rotaryPairs()));
    }
    shape("x", x, batch.sequences().size(), x.columns());
    shape("out", out, x.rows(), x.columns());
  }

  /** See {@link ForwardOps#appendKeyValues}. */
  public static void appendKeyValues(
      Tensor newKey, Tensor newValue, TokenBatch batch, Tensor key, Tensor value) {
    PackedSequences sequences = batch.sequences();
    shape("newKey", newKey, sequences.size(), key.columns());
    shape("newValue", newValue, sequences.size(), key.columns());
    shape("key", key, sequences.keyOffsets()[sequences.sequences()], key.columns());
    shape("value", value, key.rows(), key.columns());
    for (Tensor tensor : List.of(newKey, newValue, value)) {
      if (tensor.dtype() != key.dtype()) {
        throw new IllegalArgumentException(
            "keys and values of " + tensor.dtype() + " and " + key.dtype());
      }
    }
  }

  /**
   * See {@link ForwardOps#attention}.
   *
   * @param keyValues what {@link Device#keyValueType} says
   * @param keys the number of rows of keys
   */
  public static void attention(
      Tensor query,
      Tensor key,
      Tensor value,
      @Nullable Tensor sinks,
      AttentionSpec spec,
      DType keyValues,
      TokenBatch batch,
      long keys,
      Tensor out) {
    activation("query", query);
    rounded("key", key, keyValues);
    rounded("value", value, keyValues);
    activation("out", out);
    long width = (long) spec.numHeads() * spec.headDim();
    long keyWidth = (long) spec.numKeyValueHeads() * spec.headDim();
    shape("query", query, batch.sequences().size(), width);
    shape("out", out, batch.sequences().size(), width);
    shape("key", key, keys, keyWidth);
    shape("value", value, keys, keyWidth);
    if (sinks != null) {
      shape("sinks", sinks, 1, spec.numHeads());
    }
  }

  /** See {@link ForwardOps#causalConvolution}. */
  public static void causalConvolution(
      Tensor x, Tensor weight, TokenBatch batch, @Nullable SequenceStates states, Tensor out) {
    activation("x", x);
    activation("weight", weight);
    shape("x", x, batch.sequences().size(), weight.rows());
    sameShape("out", out, x);
    states(states, weight.rows() * (weight.columns() - 1), batch);
  }

  /** See {@link ForwardOps#gatedDelta}. */
  public static void gatedDelta(
      Tensor heads,
      Tensor decay,
      Tensor rate,
      Tensor logDecay,
      Tensor decayBias,
      DeltaSpec spec,
      TokenBatch batch,
      @Nullable SequenceStates states,
      Tensor out) {
    long tokens = batch.sequences().size();
    ofShape("heads", heads, tokens, spec.all());
    ofShape("decay", decay, tokens, spec.valueHeads());
    ofShape("rate", rate, tokens, spec.valueHeads());
    ofShape("logDecay", logDecay, 1, spec.valueHeads());
    ofShape("decayBias", decayBias, 1, spec.valueHeads());
    ofShape("out", out, tokens, spec.values());
    states(states, spec.states(), batch);
  }

  /** The states of sequences, of which each has {@code width} elements. */
  private static void states(@Nullable SequenceStates states, long width, TokenBatch batch) {
    if (states == null) {
      wholeSequences(batch);
      return;
    }
    if (width == 0) {
      return;
    }
    PackedSequences sequences = batch.sequences();
    ofShape("states", states.rows(), states.rows().rows(), width);
    long last = -1;
    for (int s = 0; s < sequences.sequences(); s++) {
      long slot = states.capacity() < 1 ? -1 : sequences.keyOffsets()[s] / states.capacity();
      if (slot <= last || slot >= states.rows().rows()) {
        throw new IllegalArgumentException(
            String.format(
                Locale.ROOT,
                "sequence %d has state %d after %d of %d",
                s,
                slot,
                last,
                states.rows().rows()));
      }
      last = slot;
    }
  }

  /** See {@link ForwardOps#gatedActivation}. */
  public static void gatedActivation(Tensor gate, @Nullable Tensor up, Tensor out) {
    activation("gate", gate);
    if (up != null) {
      activation("up", up);
      shape("up", up, gate.rows(), gate.columns());
    }
    shape("out", out, gate.rows(), gate.columns());
  }

  /** See {@link ForwardOps#clampedGate}. */
  public static void clampedGate(Tensor gateUp, Tensor out) {
    activation("gateUp", gateUp);
    activation("out", out);
    shape("gateUp", gateUp, out.rows(), 2 * out.columns());
  }

  /** See {@link ForwardOps#route}. */
  public static void route(
      Tensor logits,
      @Nullable Tensor correction,
      RouterSpec router,
      int[] experts,
      float[] shares) {
    activation("logits", logits);
    if (correction != null) {
      shape("correction", correction, 1, logits.columns());
    }
    length("shares", shares.length, experts.length);
    long chosen = experts.length / logits.rows();
    length("experts", experts.length, chosen * logits.rows());
    if (chosen < 1 || chosen > logits.columns()) {
      throw new IllegalArgumentException(chosen + " of " + logits.columns() + " experts");
    }
    RouterSpec.Groups groups = router.groupsOrAll();
    if (!groups.divide(logits.columns()) || !groups.haveRoom(logits.columns(), chosen)) {
      throw new IllegalArgumentException(
          chosen + " of " + logits.columns() + " experts in " + groups);
    }
  }

  /** See {@link ForwardOps#gather}. */
  public static void gather(Tensor x, int[] rows, Tensor out) {
    activation("x", x);
    shape("out", out, rows.length, x.columns());
    for (int row : rows) {
      if (row < 0 || row >= x.rows()) {
        throw new IllegalArgumentException("row " + row + " of " + x.rows());
      }
    }
  }

  /** See {@link ForwardOps#copyColumns}. */
  public static void copyColumns(Tensor x, int from, int count, Tensor out, int to) {
    activation("x", x);
    if (count < 1
        || from < 0
        || to < 0
        || from > x.columns() - count
        || to > out.columns() - count) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "columns %d and %d others of %d to column %d of %d",
              from,
              count - 1,
              x.columns(),
              to,
              out.columns()));
    }
    if (out.rows() < x.rows() || out.rows() % x.rows() != 0) {
      throw new IllegalArgumentException(x.rows() + " rows to " + out.rows());
    }
  }

  /** See {@link ForwardOps#addRows}. */
  public static void addRows(Tensor x, int[] rows, float[] factors, Tensor y) {
    activation("x", x);
    activation("y", y);
    shape("y", y, rows.length, x.columns());
    length("factors", factors.length, rows.length);
    int last = -1;
    for (int row : rows) {
      if (row <= last || row >= x.rows()) {
        throw new IllegalArgumentException("row " + row + " after " + last + " of " + x.rows());
      }
      last = row;
    }
  }

  /** See {@link ForwardOps#add}. */
  public static void add(Tensor x, Tensor y) {
    activation("x", x);
    activation("y", y);
    shape("y", y, x.rows(), x.columns());
  }

  /** See {@link SolvingOps#multiply}. */
  public static void multiply(Tensor x, Tensor y, Tensor out) {
    activation("x", x);
    activation("y", y);
    activation("out", out);
    shape("y", y, x.rows(), x.columns());
    shape("out", out, x.rows(), x.columns());
  }

  /** See {@link ScoringOps#cosine}. */
  public static void cosine(Tensor reference, Tensor candidates, TokenBatch batch) {
    activation("reference", reference);
    activation("candidates", candidates);
    shape("reference", reference, batch.sequences().size(), reference.columns());
    candidates("candidates", candidates, batch, reference.columns());
  }

  /** Checks rows of candidates, each of which has a row for every token of a batch. */
  private static void candidates(String name, Tensor rows, TokenBatch batch, long columns) {
    long tokens = batch.sequences().size();
    shape(name, rows, Math.max(1, rows.rows() / tokens) * tokens, columns);
  }

  /** See {@link ScoringOps#pairProducts}. */
  public static void pairProducts(List<Tensor> tensors, int groups) {
    Tensor first = tensors.getFirst();
    for (Tensor tensor : tensors) {
      shape("tensor", tensor, first.rows(), first.columns());
    }
    if (groups < 1 || first.elements() % groups != 0) {
      throw new IllegalArgumentException(first.elements() + " elements in " + groups + " groups");
    }
  }

  /** See {@link ScoringOps#logits}. */
  public static void logits(Tensor hidden, Head head, Tensor out) {
    linear(hidden, head.weight(), null, DType.F32, out);
  }

  /** See {@link ScoringOps#logProbability}. */
  public static void logProbability(
      Tensor hidden, Head head, TokenBatch batch, int maxToken, double[] out) {
    activation("hidden", hidden);
    candidates("hidden", hidden, batch, head.weight().columns());
    length("out", out.length, hidden.rows());
    vocabulary(maxToken, head.weight());
  }

  /** See {@link ScoringOps#klDivergence}. */
  public static void klDivergence(
      Tensor hidden, Tensor reference, Head head, TokenBatch batch, double[] out) {
    activation("hidden", hidden);
    activation("reference", reference);
    candidates("hidden", hidden, batch, head.weight().columns());
    shape("reference", reference, batch.sequences().size(), hidden.columns());
    length("out", out.length, hidden.rows());
  }

  /** See {@link ScoringOps#sample}. */
  public static void sample(Tensor logits, double temperature, double[] shares, int[] out) {
    activation("logits", logits);
    length("shares", shares.length, logits.rows());
    length("out", out.length, logits.rows());
    if (!(temperature >= 0 && temperature < Double.POSITIVE_INFINITY)) {
      throw new IllegalArgumentException("temperature " + temperature);
    }
    for (double share : shares) {
      if (!(share >= 0 && share < 1)) {
        throw new IllegalArgumentException("share " + share);
      }
    }
  }

  /**
   * See {@link SolvingOps#crossProduct}.
   *
   * @param factor the dtype to which factors are rounded
   */
  public static void crossProduct(Tensor a, Tensor b, DType factor, Tensor out) {
    rounded("a", a, factor);
    rounded("b", b, factor);
    activation("out", out);
    shape("b", b, a.rows(), b.columns());
    shape("out", out, a.columns(), b.columns());
  }

  /**
   * See {@link SolvingOps#addGram}.
   *
   * @param factor the dtype to which factors are rounded
   */
  public static void addGram(Tensor a, DType factor, Tensor out) {
    crossProduct(a, a, factor, out);
  }

  /** See {@link SolvingOps#quadraticForms}. */
  public static void quadraticForms(Tensor x, Tensor symmetric, Tensor out) {
    activation("x", x);
    activation("symmetric", symmetric);
    activation("out", out);
    shape("symmetric", symmetric, x.columns(), x.columns());
    shape("out", out, x.rows(), x.columns());
  }

  /** See {@link SolvingOps#squareOfTriangle}. */
  public static void squareOfTriangle(Tensor triangle, Tensor out) {
    activation("triangle", triangle);
    activation("out", out);
    shape("triangle", triangle, out.rows(), out.rows());
    shape("out", out, triangle.rows(), triangle.rows());
  }

  /** See {@link SolvingOps#inverseRms}. */
  public static void inverseRms(Tensor x, Tensor out) {
    activation("x", x);
    activation("out", out);
    shape("out", out, x.rows(), 1);
  }

  /** See {@link SolvingOps#scaledDifference}. */
  public static void scaledDifference(Tensor a, @Nullable Tensor b, Tensor scale, Tensor out) {
    activation("a", a);
    activation("scale", scale);
    activation("out", out);
    shape("scale", scale, a.rows(), 1);
    shape("out", out, a.rows(), a.columns());
    if (b != null) {
      activation("b", b);
      shape("b", b, a.rows(), a.columns());
    }
  }

  /** See {@link SolvingOps#addSquares}. */
  public static void addSquares(Tensor x, Tensor out) {
    activation("x", x);
    activation("out", out);
    shape("out", out, 1, x.columns());
  }

  /** See {@link SolvingOps#gatherColumns}. */
  public static void gatherColumns(Tensor x, int[] columns, Tensor out, long first) {
    if (out.dtype() != x.dtype() || out.rows() != x.rows()) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "columns of %s [%d, %d] for %s [%d, %d]",
              x.dtype(),
              x.rows(),
              x.columns(),
              out.dtype(),
              out.rows(),
              out.columns()));
    }
    if (columns.length == 0 || first < 0 || first + columns.length > out.columns()) {
      throw new IllegalArgumentException(
          columns.length + " columns from " + first + " on of " + out.columns());
    }
    for (int column : columns) {
      if (column < 0 || column >= x.columns()) {
        throw new IllegalArgumentException("column " + column + " of " + x.columns());
      }
    }
  }

  /** See {@link LinearSystem#ridge}. */
  public static void ridge(
      LinearSystem.Difference gram, LinearSystem.Difference cross, Tensor out) {
    difference("gram", gram, out.columns(), out.columns());
    difference("cross", cross, out.rows(), out.columns());
    activation("out", out);
  }

  /** See {@link LinearSystem#whitening}. */
  public static void whitening(Tensor gram, Tensor out) {
    difference("gram", new LinearSystem.Difference(gram, null), out.columns(), out.columns());
    activation("out", out);
    shape("out", out, gram.rows(), gram.columns());
  }

  /** See {@link TrainingOps#linearGradient}. */
  public static void linearGradient(Tensor gradient, Tensor weight, DType factor, Tensor out) {
    rounded("gradient", gradient, factor);
    activation("out", out);
    shape("weight", weight, gradient.columns(), out.columns());
    shape("out", out, gradient.rows(), weight.columns());
  }

  /** See {@link TrainingOps#addColumns}. */
  public static void addColumns(Tensor x, Tensor out) {
    addSquares(x, out);
  }

  /** See {@link TrainingOps#rmsNormGradient}. */
  public static void rmsNormGradient(
      Tensor x, Tensor weight, Tensor gradient, Tensor weightGradient, Tensor out) {
    rmsNorm(x, weight, out);
    sameShape("gradient", gradient, x);
    sameShape("weightGradient", weightGradient, weight);
  }

  /** See {@link TrainingOps#layerNormGradient}. */
  public static void layerNormGradient(
      Tensor x,
      Tensor weight,
      Tensor gradient,
      Tensor weightGradient,
      @Nullable Tensor biasGradient,
      Tensor out) {
    layerNorm(x, weight, null, out);
    sameShape("gradient", gradient, x);
    sameShape("weightGradient", weightGradient, weight);
    if (biasGradient != null) {
      sameShape("biasGradient", biasGradient, weight);
    }
  }

  /** See {@link TrainingOps#attention}. */
  public static void attention(
      Tensor query,
      Tensor key,
      Tensor value,
      @Nullable Tensor sinks,
      AttentionSpec spec,
      TokenBatch batch,
      long keys,
      Tensor out,
      Tensor logSums) {
    attention(query, key, value, sinks, spec, DType.F32, batch, keys, out);
    wholeSequences(batch);
    activation("logSums", logSums);
    shape("logSums", logSums, query.rows(), spec.numHeads());
  }

  /** See {@link TrainingOps#attentionGradient}. */
  public static void attentionGradient(
      Tensor query,
      Tensor key,
      Tensor value,
      AttentionSpec spec,
      TokenBatch batch,
      long keys,
      Tensor out,
      Tensor logSums,
      Tensor gradient,
      Tensor queryGradient,
      Tensor keyGradient,
      Tensor valueGradient) {
    attention(query, key, value, null, spec, batch, keys, out, logSums);
    sameShape("gradient", gradient, out);
    sameShape("queryGradient", queryGradient, query);
    sameShape("keyGradient", keyGradient, key);
    sameShape("valueGradient", valueGradient, value);
  }

  /** See {@link TrainingOps#causalConvolutionGradient}. */
  public static void causalConvolutionGradient(
      Tensor x,
      Tensor weight,
      TokenBatch batch,
      Tensor gradient,
      @Nullable Tensor weightGradient,
      Tensor out) {
    causalConvolution(x, weight, batch, null, out);
    sameShape("gradient", gradient, x);
    if (weightGradient != null) {
      sameShape("weightGradient", weightGradient, weight);
    }
  }

  /** See {@link TrainingOps#gatedDeltaGradient}. */
  public static void gatedDeltaGradient(
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
    gatedDelta(heads, decay, rate, logDecay, decayBias, spec, batch, null, errors);
    sameShape("gradient", gradient, errors);
    sameShape("headsGradient", headsGradient, heads);
    sameShape("decayGradient", decayGradient, decay);
    sameShape("rateGradient", rateGradient, rate);
    sameShape("logDecayGradient", logDecayGradient, decay);
  }

  private static void wholeSequences(TokenBatch batch) {
    for (int past : batch.sequences().past()) {
      if (past != 0) {
        throw new IllegalArgumentException("a sequence has " + past + " past tokens, must have 0");
      }
    }
  }

  /** See {@link TrainingOps#gatedGradients}. */
  public static void gatedGradients(Tensor gate, @Nullable Tensor up, Tensor gradient) {
    activation("gate", gate);
    sameShape("gradient", gradient, gate);
    if (up != null) {
      sameShape("up", up, gate);
    }
  }

  /** See {@link TrainingOps#clampedGateGradients}. */
  public static void clampedGateGradients(Tensor gateUp, Tensor gradient) {
    clampedGate(gateUp, gradient);
  }

  /** See {@link TrainingOps#rowProducts}. */
  public static void rowProducts(Tensor a, Tensor b, Tensor out) {
    activation("a", a);
    sameShape("b", b, a);
    activation("out", out);
    shape("out", out, a.rows(), 1);
  }

  /** See {@link TrainingOps#distillationLoss}. */
  public static void distillationLoss(
      Tensor hidden,
      Tensor reference,
      Head head,
      TokenBatch batch,
      int maxToken,
      double labelShare,
      double[] losses,
      Tensor gradient) {
    klDivergence(hidden, reference, head, batch, losses);
    sameShape("reference", reference, hidden);
    vocabulary(maxToken, head.weight());
    sameShape("gradient", gradient, hidden);
    if (!(labelShare >= 0 && labelShare <= 1)) {
      throw new IllegalArgumentException("share of labels " + labelShare);
    }
  }

  /** See {@link TrainingOps#sumsOfSquares}. */
  public static void sumsOfSquares(List<Tensor> tensors) {
    tensors.forEach(x -> activation("x", x));
  }

  /** See {@link TrainingOps#dampings}. */
  public static void dampings(List<Tensor> gradients, Tensor running, Tensor out) {
    gradients.forEach(gradient -> activation("gradient", gradient));
    activation("running", running);
    shape("running", running, gradients.size(), 2);
    activation("out", out);
    shape("out", out, gradients.size(), 1);
  }

  /** See {@link TrainingOps#adamW}. */
  public static void adamW(List<TrainingOps.Update> updates) {
    for (TrainingOps.Update update : updates) {
      if (update.damping() != null) {
        activation("damping", update.damping());
        shape("damping", update.damping(), 1, 1);
      }
      Tensor gradient = update.gradient();
      activation("gradient", gradient);
      sameShape("mean", update.mean(), gradient);
      sameShape("square", update.square(), gradient);
      trained(gradient, update.master(), update.weight());
    }
  }

  /** See {@link TrainingOps#adamW8Bit}. */
  public static void adamW8Bit(List<TrainingOps.Update8Bit> updates) {
    for (TrainingOps.Update8Bit update : updates) {
      Tensor gradient = update.gradient();
      Tensor moments = update.moments();
      activation("gradient", gradient);
      activation("moments", moments);
      shape("moments", moments, EightBitMoments.blocks(gradient.elements()), EightBitMoments.ROW);
      trained(gradient, update.master(), update.weight());
    }
  }

  private static void trained(Tensor gradient, @Nullable Tensor master, Tensor weight) {
    if (master != null) {
      sameShape("master", master, gradient);
    }
    shape("weight", weight, gradient.rows(), gradient.columns());
  }

  /** An f32 tensor of these extents. */
  private static void ofShape(String name, Tensor tensor, long rows, long columns) {
    activation(name, tensor);
    shape(name, tensor, rows, columns);
  }

  /** An f32 tensor of the extents of another tensor. */
  private static void sameShape(String name, Tensor tensor, Tensor other) {
    ofShape(name, tensor, other.rows(), other.columns());
  }

  private static void difference(
      String name, LinearSystem.Difference difference, long rows, long columns) {
    activation(name, difference.all());
    shape(name, difference.all(), rows, columns);
    if (difference.less() != null) {
      activation(name, difference.less());
      shape(name, difference.less(), rows, columns);
    }
  }

  /** See {@link DeviceMemory#copy}. */
  public static void copy(Tensor from, Tensor to) {
    if (from.dtype() != to.dtype() && from.dtype() != DType.F32) {
      throw new IllegalArgumentException("copy from " + from.dtype() + " to " + to.dtype());
    }
    length("to", to.elements(), from.elements());
  }

  /** See {@link DeviceMemory#download} and {@link DeviceMemory#upload}. */
  public static void transfer(Tensor tensor, float[] array) {
    activation("tensor", tensor);
    length("array", array.length, tensor.elements());
  }

  /** See {@link DeviceMemory#download(Tensor, HostTensor)}. */
  public static void transfer(Tensor tensor, HostTensor to) {
    if (tensor.dtype() != to.dtype()) {
      throw new IllegalArgumentException("from " + tensor.dtype() + " to " + to.dtype());
    }
    length("memory of the host", to.elements(), tensor.elements());
  }

  private static void shape(String name, Tensor tensor, long rows, long columns) {
    if (tensor.rows() != rows || tensor.columns() != columns) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "%s is [%d, %d], must be [%d, %d]",
              name,
              tensor.rows(),
              tensor.columns(),
              rows,
              columns));
    }
  }

  private static void activation(String name, Tensor tensor) {
    if (tensor.dtype() != DType.F32) {
      throw new IllegalArgumentException(name + " is " + tensor.dtype() + ", must be F32");
    }
  }

  /** An activation, or what is left of one after rounding to a dtype. */
  private static void rounded(String name, Tensor tensor, DType rounded) {
    if (tensor.dtype() != rounded) {
      activation(name, tensor);
    }
  }

  private static void vocabulary(int maxToken, Tensor table) {
    if (maxToken >= table.rows()) {
      throw new IllegalArgumentException(
          "token id " + maxToken + " is not below the vocabulary size " + table.rows());
    }
  }

  private static void length(String name, long actual, long expected) {
    if (actual != expected) {
      throw new IllegalArgumentException(name + " has " + actual + " elements, not " + expected);
    }
  }
}
