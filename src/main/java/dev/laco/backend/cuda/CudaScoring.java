package dev.laco.backend.cuda;

import static dev.laco.backend.cuda.CudaBackend.blocks;
import static dev.laco.backend.cuda.CudaBackend.input;
import static dev.laco.backend.cuda.CudaBackend.output;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.backend.DivergenceState;
import dev.laco.backend.Head;
import dev.laco.backend.OpChecks;
import dev.laco.backend.ScoringOps;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.LogitSpec;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;

/**
 * The {@link ScoringOps} on an NVIDIA GPU: our kernels, and cuBLAS for matrix products. All but
 * {@link #logits} wait until the stream is done.
 */
public final class CudaScoring {
  /**
   * Bytes that {@link #logProbability} and {@link #klDivergence} use for logits: so many stay in
   * the cache of an H100, which has 50 MB, until they have been read.
   */
  static final long LOGITS_BYTES = 32L << 20;

  /**
   * Rows of logits that {@link #logProbability} and {@link #klDivergence} compute together: of
   * several candidates where one has fewer.
   */
  private static final int SCORED_ROWS = 2048;

  /** Elements of hidden states that one block of the cosine kernel takes. */
  private static final long COSINE_ELEMENTS = 4096;

  private static final int MAX_COSINE_PARTS = 128;

  /** Columns whose weights a warp of the kernel of {@link #sample} adds up. */
  private static final long SAMPLED_PART = 1024;

  private static final int SAMPLING_BLOCK = 1024;

  /** Tensors of a side of the square that one block of the kernel of all pairs takes. */
  private static final int PAIR_TILE = 4;

  /** Groups whose dot products {@link #pairProducts} computes in one launch. */
  private static final int PAIR_GROUPS = 512;

  private static final int BLOCK = 256;

  private final CudaBackend backend;
  private final CudaProducts products;
  private final Staging staging;
  private final ArgumentRing arguments;
  private final Scratch reductions;
  private final Scratch logits;
  private final Scratch rowFactors;

  CudaScoring(CudaBackend backend, CudaProducts products, Staging staging, ArgumentRing arguments) {
    this.backend = backend;
    this.products = products;
    this.staging = staging;
    this.arguments = arguments;
    this.reductions = new Scratch(backend.context(), "reductions");
    this.logits = new Scratch(backend.context(), "logits");
    this.rowFactors = new Scratch(backend.context(), "factors of rows");
  }

  /** See {@link ScoringOps#cosine}. */
  double[] cosine(Tensor reference, Tensor candidates, TokenBatch batch) {
    CudaBatch tokens = CudaBatch.of(batch);
    OpChecks.cosine(reference, candidates, batch);
    backend.context().enter();
    int sequences = batch.sequences().sequences();
    int count = Math.toIntExact(candidates.rows() / reference.rows());
    int parts = cosineParts(tokens.longest(), reference.columns());
    double[] sums = new double[3 * count * sequences * parts];
    long partial = reductions.atLeast((long) sums.length * Double.BYTES);
    ArgumentRing.Table addresses = arguments.table((long) count * Long.BYTES);
    long bytes = reference.elements() * Float.BYTES;
    for (int c = 0; c < count; c++) {
      addresses.memory().setAtIndex(JAVA_LONG, c, input(candidates) + c * bytes);
    }
    addresses.send();
    backend
        .launcher()
        .of(Kernel.COSINE, DType.F32)
        .pointer(addresses.address())
        .pointer(input(reference))
        .pointer(tokens.offsets())
        .pointer(partial)
        .int64(reference.columns())
        .int32(sequences)
        .run(count, parts, sequences, BLOCK, 0);
    staging.download(partial, MemorySegment.ofArray(sums), backend.stream());
    double[] cosines = new double[count * sequences];
    for (int c = 0; c < cosines.length; c++) {
      double product = 0;
      double squares = 0;
      double referenceSquares = 0;
      for (int part = c * parts; part < (c + 1) * parts; part++) {
        product += sums[3 * part];
        squares += sums[3 * part + 1];
        referenceSquares += sums[3 * part + 2];
      }
      cosines[c] = product / (norm(referenceSquares) * norm(squares));
    }
    return cosines;
  }

  /** See {@link ScoringOps#pairProducts}. */
  double[] pairProducts(List<Tensor> tensors, int groups) {
    OpChecks.pairProducts(tensors, groups);
    backend.context().enter();
    int count = tensors.size();
    long elements = tensors.getFirst().elements() / groups;
    double[] products = new double[groups * count * count];
    if (tensors.stream().allMatch(tensor -> tensor.dtype() == DType.F32)) {
      long[] addresses = new long[count];
      for (int first = 0; first < groups; first += PAIR_GROUPS) {
        long offset = first * elements * Float.BYTES;
        Arrays.setAll(addresses, k -> input(tensors.get(k)) + offset);
        addPairs(addresses, Math.min(PAIR_GROUPS, groups - first), elements, products, first);
      }
      return products;
    }
    long most = Math.min(elements, Math.max(1, LOGITS_BYTES / Float.BYTES / count) + 3 & -4L);
    for (int group = 0; group < groups; group++) {
      long end = (group + 1) * elements;
      for (long from = group * elements; from < end; from += most) {
        long size = Math.min(most, end - from);
        addPairs(widened(tensors, from, size, most), 1, size, products, group);
      }
    }
    return products;
  }

  /**
   * Elements {@code [from, from + size)} of tensors as f32.
   *
   * @param room elements for each tensor
   */
  private long[] widened(List<Tensor> tensors, long from, long size, long room) {
    long memory = logits.atLeast(tensors.size() * room * Float.BYTES);
    long[] addresses = new long[tensors.size()];
    for (int k = 0; k < addresses.length; k++) {
      Tensor tensor = tensors.get(k);
      long source = input(tensor) + from * tensor.dtype().byteSize();
      addresses[k] = tensor.dtype() == DType.F32 ? source : memory + k * room * Float.BYTES;
      if (tensor.dtype() != DType.F32) {
        backend
            .launcher()
            .of(Kernel.WIDEN, tensor.dtype())
            .pointer(source)
            .pointer(addresses[k])
            .int64(size)
            .run(CudaProducts.blocks(size), BLOCK);
      }
    }
    return addresses;
  }

  /**
   * Adds the dot products of f32 tensors, group by group.
   *
   * @param first the group of {@code products} that the first one is added to
   */
  private void addPairs(long[] addresses, int groups, long elements, double[] products, int first) {
    int count = addresses.length;
    int parts = cosineParts(1, elements);
    double[] sums = new double[groups * count * count * parts];
    long partial = reductions.atLeast((long) sums.length * Double.BYTES);
    // The kernel writes nothing below the diagonal.
    backend
        .context()
        .driver()
        .zero(partial, (long) sums.length * Double.BYTES, backend.stream().handle());
    pairs(addresses, groups, elements, parts, partial);
    staging.download(partial, MemorySegment.ofArray(sums), backend.stream());
    for (int group = 0; group < groups; group++) {
      for (int i = 0; i < count; i++) {
        for (int j = i; j < count; j++) {
          int from = ((group * count + i) * count + j) * parts;
          double sum = Arrays.stream(sums, from, from + parts).sum();
          int to = (first + group) * count * count;
          products[to + i * count + j] += sum;
          products[to + j * count + i] = products[to + i * count + j];
        }
      }
    }
  }

  /**
   * Computes {@code [groups, count, count, parts]} parts of the dot products of {@code count} f32
   * tensors, group by group; nothing below the diagonal.
   */
  private void pairs(long[] addresses, int groups, long elements, int parts, long partial) {
    int count = addresses.length;
    long tables = (long) count * Long.BYTES;
    ArgumentRing.Table table = arguments.table(tables + (groups + 1L) * Integer.BYTES);
    for (int k = 0; k < count; k++) {
      table.memory().setAtIndex(JAVA_LONG, k, addresses[k]);
    }
    for (int group = 0; group <= groups; group++) {
      table.memory().set(JAVA_INT, tables + (long) group * Integer.BYTES, group);
    }
    table.send();
    long tiles = Math.ceilDiv(count, PAIR_TILE);
    backend
        .launcher()
        .of(Kernel.COSINE_PAIRS, DType.F32)
        .pointer(table.address())
        .pointer(table.address() + tables)
        .pointer(partial)
        .int64(elements)
        .int32(count)
        .run(tiles * (tiles + 1) / 2, parts, groups, BLOCK, 0);
  }

  /** Blocks of the cosine kernel for each sequence, by the length of the longest. */
  public static int cosineParts(long tokens, long columns) {
    return (int) Math.min(MAX_COSINE_PARTS, Math.ceilDiv(tokens * columns, COSINE_ELEMENTS));
  }

  private static double norm(double squares) {
    return Math.max(Math.sqrt(squares), 1e-8);
  }

  /** See {@link ScoringOps#logits}. */
  void logits(Tensor hidden, Head head, Tensor out) {
    OpChecks.logits(hidden, head, out);
    backend.context().enter();
    logits(CudaTensor.of(hidden), head, CudaTensor.of(head.weight()), output(out));
  }

  /** Computes the logits of the rows of {@code weight}, which may be a panel of the head. */
  void logits(CudaTensor hidden, Head head, CudaTensor weight, long out) {
    products.apply(hidden, weight, out);
    LogitSpec spec = head.unitRows() ? head.byInverseRms() : head.spec();
    long factors = head.unitRows() ? inverseRms(weight, head.leastMeanSquare()) : 0;
    if (head.unitRows() || !spec.equals(LogitSpec.PLAIN)) {
      long elements = hidden.rows() * weight.rows();
      backend
          .launcher()
          .of(Kernel.LOGITS, DType.F32)
          .pointer(out)
          .pointer(factors)
          .int64(elements)
          .int64(weight.rows())
          .float32((float) spec.scale())
          .float32((float) spec.softCap())
          .run(blocks(elements), BLOCK);
    }
  }

  /** Computes the {@link #inverseRms} of each row of a weight, until the next call. */
  long inverseRms(CudaTensor weight, double floor) {
    long factors = rowFactors.atLeast(weight.rows() * Float.BYTES);
    backend.inverseRms(weight, floor, factors);
    return factors;
  }

  /** See {@link ScoringOps#logProbability}. */
  void logProbability(Tensor hidden, Head head, TokenBatch batch, double[] out) {
    CudaBatch targets = CudaBatch.of(batch);
    OpChecks.logProbability(hidden, head, batch, targets.maxToken(), out);
    backend.context().enter();
    int tokens = batch.sequences().size();
    int rows = out.length;
    // Each row has the sum of exponentials so far, the largest logit so far and the logit of the
    // target.
    long total = reductions.atLeast(rows * 16L);
    long most = total + rows * 8L;
    long target = most + rows * 4L;
    // The kernel skips rows without a target, and the results of all rows are copied back.
    backend.context().driver().zero(total, rows * 16L, backend.stream().handle());
    int together = together(tokens) * tokens;
    for (int from = 0; from < rows; from += together) {
      CudaTensor states = CudaTensor.of(hidden).slice(from, Math.min(rows, from + together));
      int candidates = from;
      eachPanel(
          head,
          states.rows(),
          (part, first, scores) -> {
            logits(states, head, part, scores);
            for (long row = 0; row < states.rows(); row += tokens) {
              backend
                  .launcher()
                  .of(Kernel.LOG_PROBABILITY, DType.F32)
                  .pointer(scores + row * part.rows() * Float.BYTES)
                  .pointer(targets.targets())
                  .pointer(total + (candidates + row) * 8)
                  .pointer(most + (candidates + row) * 4)
                  .pointer(target + (candidates + row) * 4)
                  .int64(part.rows())
                  .int64(first)
                  .run(tokens, BLOCK);
            }
          });
    }
    double[] state = new double[2 * rows];
    MemorySegment memory = MemorySegment.ofArray(state);
    staging.download(total, memory, backend.stream());
    int[] next = batch.sequences().targets();
    for (int t = 0; t < rows; t++) {
      double largest = memory.get(JAVA_FLOAT, rows * 8L + t * 4L);
      double logit = memory.get(JAVA_FLOAT, rows * 12L + t * 4L);
      out[t] = next[t % tokens] >= 0 ? logit - largest - Math.log(state[t]) : 0;
    }
  }

  /** See {@link ScoringOps#sample}. */
  void sample(Tensor logits, double temperature, double[] shares, int[] out) {
    OpChecks.sample(logits, temperature, shares, out);
    backend.context().enter();
    long rows = logits.rows();
    long parts = Math.ceilDiv(logits.columns(), SAMPLED_PART);
    long sums = reductions.atLeast(rows * (parts * Double.BYTES + Integer.BYTES));
    long tokens = sums + rows * parts * Double.BYTES;
    ArgumentRing.Table table = arguments.table(rows * Double.BYTES);
    MemorySegment.copy(shares, 0, table.memory(), JAVA_DOUBLE, 0, shares.length);
    table.send();
    backend
        .launcher()
        .of(Kernel.SAMPLE, DType.F32)
        .pointer(input(logits))
        .pointer(table.address())
        .pointer(sums)
        .pointer(tokens)
        .int64(logits.columns())
        .float32(temperature == 0 ? 0 : (float) (1 / temperature))
        .run(rows, SAMPLING_BLOCK);
    staging.download(tokens, MemorySegment.ofArray(out), backend.stream());
  }

  /** See {@link ScoringOps#klDivergence}. */
  void klDivergence(Tensor hidden, Tensor reference, Head head, TokenBatch batch, double[] out) {
    OpChecks.klDivergence(hidden, reference, head, batch, out);
    backend.context().enter();
    long state = reductions.atLeast(out.length * DivergenceState.BYTES);
    int tokens = batch.sequences().size();
    for (int from = 0; from < tokens; from += SCORED_ROWS) {
      divergenceState(
          CudaTensor.of(hidden),
          CudaTensor.of(reference).slice(from, Math.min(tokens, from + SCORED_ROWS)),
          head,
          tokens,
          from,
          state);
    }
    double[] states = new double[(int) (out.length * DivergenceState.BYTES / Double.BYTES)];
    MemorySegment memory = MemorySegment.ofArray(states);
    staging.download(state, memory, backend.stream());
    for (int t = 0; t < out.length; t++) {
      out[t] = DivergenceState.divergence(memory, t);
    }
  }

  /**
   * Computes the {@link DivergenceState} of some rows of each candidate.
   *
   * @param reference at most {@link #SCORED_ROWS} rows
   * @param tokens rows of a candidate
   * @param from the first of these rows of a candidate
   * @param state of all rows of all candidates
   */
  private void divergenceState(
      CudaTensor hidden, CudaTensor reference, Head head, long tokens, long from, long state) {
    long rows = reference.rows();
    int candidates = Math.toIntExact(hidden.rows() / tokens);
    int together = Math.min(candidates, together(Math.toIntExact(tokens)));
    eachPanel(
        head,
        (together + 1) * rows,
        (part, first, scores) -> {
          long bytes = rows * part.rows() * Float.BYTES;
          long expected = scores + together * bytes;
          logits(reference, head, part, expected);
          for (int c = 0; c < candidates; c += together) {
            int last = Math.min(candidates, c + together) - 1;
            // Of several candidates all rows are taken, which follow each other.
            CudaTensor some = hidden.slice(c * tokens + from, last * tokens + from + rows);
            logits(some, head, part, scores);
            for (int candidate = c; candidate <= last; candidate++) {
              backend
                  .launcher()
                  .of(Kernel.KL_DIVERGENCE, DType.F32)
                  .pointer(scores + (candidate - c) * bytes)
                  .pointer(expected)
                  .pointer(state + (candidate * tokens + from) * DivergenceState.BYTES)
                  .int64(part.rows())
                  .int64(first)
                  .run(rows, BLOCK);
            }
          }
        });
  }

  /** Candidates of so many tokens whose logits are computed together. */
  private static int together(int tokens) {
    return Math.max(1, SCORED_ROWS / tokens);
  }

  /** What to do with a panel of the head: some of its rows. */
  @FunctionalInterface
  private interface PanelTask {
    /**
     * Does it.
     *
     * @param first number of the panel's first row
     * @param scores room for logits
     */
    void run(CudaTensor part, long first, long scores);
  }

  /** Goes through the head in panels, of each of which {@code rows} rows of logits fit. */
  private void eachPanel(Head head, long rows, PanelTask task) {
    CudaTensor matrix = CudaTensor.of(head.weight());
    // Panels begin at multiples of 64 rows, so that they are aligned for wide loads.
    long panel = Math.max(64, LOGITS_BYTES / Float.BYTES / rows / 64 * 64);
    long scores = logits.atLeast(rows * Math.min(panel, matrix.rows()) * Float.BYTES);
    for (long first = 0; first < matrix.rows(); first += panel) {
      task.run(matrix.slice(first, Math.min(matrix.rows(), first + panel)), first, scores);
    }
  }
}
