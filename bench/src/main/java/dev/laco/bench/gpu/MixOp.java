package dev.laco.bench.gpu;

import static dev.laco.model.DType.BF16;
import static dev.laco.model.DType.F16;
import static dev.laco.model.DType.F32;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.backend.KernelCode;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorMix;
import dev.laco.bench.Target;
import dev.laco.model.TensorSpec;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** {@code mix}: a whole layer merged from four by Eq. 1, for one or several candidates at once. */
final class MixOp implements Op {
  /** Base and three followers. */
  static final int SOURCES = 4;

  private static final double TARGET = 0.92;
  private static final int BLOCK = 256;
  private static final long BLOCK_ELEMENTS = 4096;

  /** {@code MixJob} of {@code cuda/mix.cu}, in 8 bytes. */
  private static final int JOB_WORDS = 8;

  private static final int MANY_CANDIDATES = 4;

  @Override
  public String name() {
    return "mix";
  }

  @Override
  public List<Variant> variants() {
    return Stream.of(
            Variant.of("mix", "laco_mix_any_v1", BF16),
            Variant.of("mix", "laco_mix_%s_v3", F32, F16, BF16),
            Variant.of("mix", "laco_mix_%s_v2", F32, F16, BF16))
        .flatMap(List::stream)
        .toList();
  }

  @Override
  public List<Sizes> timed(Sizes trial, Sizes large) {
    return List.of(trial, trial.withCandidates(MANY_CANDIDATES));
  }

  @Override
  public String describe(Sizes sizes) {
    return String.format(Locale.ROOT, "%d layers into %d", SOURCES, sizes.candidates());
  }

  /** Of the variant that the engine takes on the card. */
  @Override
  public @Nullable Target target(Variant variant, Sizes sizes, BenchDevice card) {
    boolean taken = variant.name().endsWith(card.hasFastF64() ? "_v2" : "_v3");
    return taken ? Target.ofCeiling(TARGET) : null;
  }

  /** Eq. 1 with another lambda for each candidate. */
  static double[] coefficients(int candidate) {
    double[] coefficients = new double[SOURCES];
    double lambda = 1.0 / (candidate + 1);
    Arrays.fill(coefficients, lambda);
    coefficients[0] = 1 - (SOURCES - 1) * lambda;
    return coefficients;
  }

  @Override
  public Job prepare(Variant variant, Sizes sizes, Lab lab) {
    List<Merge> merges = new ArrayList<>();
    for (TensorSpec spec : sizes.config().architecture().layerTensors(sizes.config(), 0)) {
      long rows = spec.shape().size() == 1 ? 1 : spec.shape().getFirst();
      long columns = spec.shape().getLast();
      merges.add(
          new Merge(
              lab.random(SOURCES, variant.dtype(), rows, columns, 1),
              lab.random(sizes.candidates(), variant.dtype(), rows, columns, 1)));
    }
    double elements = merges.stream().mapToDouble(merge -> merge.elements()).sum();
    double bytes = elements * variant.dtype().byteSize();
    Tensor[] outs = merges.stream().flatMap(merge -> merge.outs.stream()).toArray(Tensor[]::new);
    Samples samples = new Samples();
    for (Merge merge : merges) {
      List<Long> rows = Samples.of(merge.sources.getFirst().rows());
      Stream.concat(merge.sources.stream(), merge.outs.stream())
          .forEach(tensor -> samples.rows(rows, tensor));
    }
    return new Job(lab)
        .samples(samples)
        .launches(grid(merges), arguments(merges, lab))
        .moves(SOURCES * bytes, sizes.candidates() * bytes)
        .expects(reference -> merges.forEach(merge -> merge.runOn(reference)), 0, outs);
  }

  /**
   * One tensor of the layer.
   *
   * @param outs one for each candidate
   */
  record Merge(List<Tensor> sources, List<Tensor> outs) {
    long elements() {
      return sources.getFirst().elements();
    }

    private long blocks() {
      return Math.ceilDiv(elements(), BLOCK_ELEMENTS);
    }

    private void runOn(Reference reference) {
      for (int c = 0; c < outs.size(); c++) {
        reference
            .backend()
            .mix(
                List.of(
                    new TensorMix(
                        reference.of(outs.get(c)),
                        coefficients(c),
                        sources.stream().<Tensor>map(reference::of).toList())));
      }
    }

    /** Coefficients of all candidates, one behind the other. */
    private double[] table() {
      double[] all = new double[outs.size() * SOURCES];
      for (int c = 0; c < outs.size(); c++) {
        System.arraycopy(coefficients(c), 0, all, c * SOURCES, SOURCES);
      }
      return all;
    }
  }

  static Grid grid(List<Merge> merges) {
    return Grid.of(merges.stream().mapToLong(Merge::blocks).sum(), BLOCK);
  }

  static Arguments arguments(List<Merge> merges, Lab lab) {
    long[] jobs = new long[merges.size() * JOB_WORDS];
    MemorySegment memory = MemorySegment.ofArray(jobs);
    long block = 0;
    for (int i = 0; i < merges.size(); i++) {
      Merge merge = merges.get(i);
      int type = KernelCode.of(merge.sources.getFirst().dtype());
      int[] types = Collections.nCopies(SOURCES, type).stream().mapToInt(t -> t).toArray();
      MemorySegment job = memory.asSlice(8L * i * JOB_WORDS);
      job.set(JAVA_LONG, 0, merge.elements());
      job.set(JAVA_LONG, 8, block);
      job.set(JAVA_LONG, 16, lab.pointers(merge.sources));
      job.set(JAVA_LONG, 24, lab.table(types));
      job.set(JAVA_LONG, 32, lab.table(merge.table()));
      job.set(JAVA_LONG, 40, lab.pointers(merge.outs));
      job.set(JAVA_INT, 48, SOURCES);
      job.set(JAVA_INT, 52, merge.outs.size());
      job.set(JAVA_INT, 56, type);
      block += merge.blocks();
    }
    return new Arguments().pointer(lab.table(memory)).int32(merges.size());
  }
}
