package dev.laco.bench.gpu;

import static dev.laco.bench.gpu.RowOps.BLOCK;
import static dev.laco.bench.gpu.RowOps.COLUMNS;
import static dev.laco.bench.gpu.RowOps.ELEMENTS;
import static dev.laco.bench.gpu.RowOps.EPS;
import static dev.laco.bench.gpu.RowOps.NORM;
import static dev.laco.bench.gpu.RowOps.SUMS;
import static dev.laco.bench.gpu.RowOps.bytes;
import static dev.laco.model.DType.BF16;
import static dev.laco.model.DType.F16;
import static dev.laco.model.DType.F32;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.backend.EightBitMoments;
import dev.laco.backend.KernelCode;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.backend.cuda.CudaBackend;
import dev.laco.bench.Values;
import dev.laco.bench.gpu.RowOps.RowOp;
import dev.laco.model.Activation;
import dev.laco.model.ClampedGate;
import dev.laco.model.DType;
import dev.laco.model.PackedSequences;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;

/** The ops of training that go through their data once. */
final class GradientOps {
  /** Of weights that are rounded to 16 bits: a unit in the last place of bf16. */
  private static final double ROUNDED = 8e-3;

  /** Rows that a block sums up. */
  private static final long SUMMED_ROWS = 256;

  /** Rows of a part under a norm. */
  private static final long NORM_ROWS = 16;

  /** Parts of the tokens of a convolution, of each of which gradients by weights are summed up. */
  private static final long CONVOLVED_PARTS = 64;

  /** Bytes of both logits of a loss. */
  private static final long LOGITS_BYTES = 512L << 20;

  /** Gradients whose sizes are computed together, and parts of the sum of each. */
  private static final int GRADIENTS = 9;

  private static final int GRADIENT_PARTS = 128;

  /** Elements of a part of a sum of squares at least. */
  private static final long PART_ELEMENTS = 4096;

  /** Elements that a block of AdamW takes, and a block of AdamW in 8 bits. */
  private static final long STEP_ELEMENTS = 4096;

  private static final long STEP_ELEMENTS_8BIT = 8192;

  private static final TrainingOps.AdamW STEP =
      new TrainingOps.AdamW(1, 0.5, 0.9, 0.95, 0.5, 0.1, 0.5, 0);

  private GradientOps() {}

  static List<Op> all() {
    DType[] weights = {F32, F16, BF16};
    return List.of(
        new RowOp(
            "rms_norm_gradient",
            null,
            (dtype, sizes, lab) -> normGradient(false, dtype, sizes, lab),
            RowOps.of("norm_gradient", "rms_norm_gradient", weights)),
        new RowOp(
            "layer_norm_gradient",
            null,
            (dtype, sizes, lab) -> normGradient(true, dtype, sizes, lab),
            RowOps.of("norm_gradient", "layer_norm_gradient", weights)),
        RowOps.rowwise(
            "gated_gradients",
            null,
            GradientOps::gatedGradients,
            RowOps.of("gated_activation", "gated_gradients", F32)),
        RowOps.rowwise(
            "clamped_gate_gradients",
            null,
            GradientOps::clampedGateGradients,
            RowOps.of("gated_activation", "clamped_gate_gradients", F32)),
        RowOps.rowwise(
            "row_products",
            null,
            GradientOps::rowProducts,
            RowOps.of("row_products", "row_products", F32)),
        new RowOp(
            "causal_convolution_gradient",
            null,
            GradientOps::causalConvolutionGradient,
            RowOps.of("causal_convolution", "causal_convolution_gradient", F32)),
        new RowOp(
            "column_sums",
            null,
            GradientOps::columnSums,
            RowOps.of("column_sums", "column_sums", F32)),
        new RowOp(
            "distillation",
            null,
            GradientOps::distillation,
            RowOps.of("distillation", "distillation", F32)),
        new RowOp("dampings", null, GradientOps::dampings, RowOps.of("dampings", "dampings", F32)),
        new RowOp("squares", null, GradientOps::squares, RowOps.of("squares", "squares", F32)),
        new RowOp(
            "adam_w", null, GradientOps::adamW, Variant.of("adam_w", "laco_adam_w_%s_v3", weights)),
        new RowOp(
            "adam_w_8bit",
            null,
            GradientOps::adamW8Bit,
            Variant.of("adam_w_8bit", "laco_adam_w_8bit_%s_v2", weights)));
  }

  private static Job normGradient(boolean centred, DType dtype, Sizes sizes, Lab lab) {
    long rows = sizes.tokens();
    long columns = sizes.hidden();
    long parts = Math.ceilDiv(rows, NORM_ROWS);
    Tensor x = lab.random(F32, rows, columns, 1);
    Tensor weight = lab.random(dtype, 1, columns, 1);
    Tensor gradient = lab.random(F32, rows, columns, 1);
    Tensor byWeight = lab.random(F32, parts, columns, 1);
    Tensor byBias = lab.random(F32, parts, columns, 1);
    Tensor out = lab.random(F32, rows, columns, 1);
    Arguments arguments =
        new Arguments().pointer(x).pointer(weight).pointer(gradient).pointer(byWeight);
    if (centred) {
      arguments.pointer(byBias);
    }
    arguments.pointer(out).int64(rows).int64(NORM_ROWS).int64(columns);
    arguments.float32(EPS).float32(NORM.offset());
    return new Job(lab)
        .launches(Grid.of(parts, CudaBackend.rowBlock(columns)), arguments)
        .moves(bytes(x, gradient), bytes(out, byWeight) + (centred ? bytes(byBias) : 0))
        .expects(
            on -> {
              TrainingOps ops = on.backend().training();
              for (long part = 0; part < on.of(byWeight).rows(); part++) {
                long first = part * NORM_ROWS;
                long last = Math.min(on.of(x).rows(), first + NORM_ROWS);
                MemoryTensor from = on.of(x).slice(first, last);
                MemoryTensor by = on.of(gradient).slice(first, last);
                MemoryTensor to = on.of(out).slice(first, last);
                MemoryTensor sums = zeroed(on.of(byWeight).slice(part, part + 1));
                if (centred) {
                  MemoryTensor bias = zeroed(on.of(byBias).slice(part, part + 1));
                  ops.layerNormGradient(from, on.of(weight), NORM, by, sums, bias, to);
                } else {
                  ops.rmsNormGradient(from, on.of(weight), NORM, by, sums, to);
                }
              }
            },
            SUMS,
            out,
            byWeight)
        .within(SUMS, centred ? new Tensor[] {byBias} : new Tensor[0])
        .samples(ofParts(NORM_ROWS, byWeight, x, gradient, out).rowsOf(byWeight, byBias));
  }

  /** With the partial sums of the gradients by weights, which {@code column_sums} adds up. */
  private static Job causalConvolutionGradient(DType dtype, Sizes sizes, Lab lab) {
    PackedSequences packed = GatedDeltaOp.packed(sizes);
    long columns = sizes.hidden();
    long part = Math.max(RowOps.RUN, Math.ceilDiv(sizes.tokens(), CONVOLVED_PARTS));
    long parts = Math.ceilDiv(sizes.tokens(), part);
    Tensor x = lab.random(dtype, sizes.tokens(), columns, 1);
    Tensor weight = lab.random(dtype, columns, RowOps.CONVOLVED, 1);
    Tensor gradient = lab.random(dtype, sizes.tokens(), columns, 1);
    Tensor out = lab.random(dtype, sizes.tokens(), columns, 1);
    long sums = lab.room(4 * parts * weight.elements());
    return new Job(lab)
        .launches(
            new Grid(Math.ceilDiv(columns, BLOCK), parts, 1, BLOCK, 0),
            new Arguments()
                .pointer(x)
                .pointer(weight)
                .pointer(lab.table(packed.offsets()))
                .pointer(gradient)
                .pointer(sums)
                .pointer(out)
                .int64(columns)
                .int32(RowOps.CONVOLVED)
                .int32(packed.sequences())
                .int32(part))
        .moves(bytes(x, weight, gradient), bytes(out) + parts * bytes(weight))
        .expects(
            on -> {
              try (TokenBatch batch = on.batch(packed)) {
                on.backend()
                    .training()
                    .causalConvolutionGradient(
                        on.of(x), on.of(weight), batch, on.of(gradient), null, on.of(out));
              }
            },
            SUMS,
            out)
        .samples(Samples.ofLastTokens(packed, x, gradient, out));
  }

  /** Of tensors whose rows are summed up in parts: all rows of some parts, and the last of them. */
  private static Samples ofParts(long rowsOfPart, Tensor sums, Tensor... summed) {
    List<Long> parts = Samples.of(sums.rows());
    Samples samples = new Samples().rows(parts, sums);
    for (Tensor tensor : summed) {
      samples.rows(
          parts.stream()
              .flatMap(
                  part ->
                      Samples.range(
                          part * rowsOfPart, Math.min(tensor.rows(), (part + 1) * rowsOfPart))
                          .stream())
              .toList(),
          tensor);
    }
    return samples;
  }

  private static MemoryTensor zeroed(MemoryTensor tensor) {
    for (long i = 0; i < tensor.elements(); i++) {
      tensor.set(i, 0);
    }
    return tensor;
  }

  private static Job gatedGradients(DType dtype, Sizes sizes, Lab lab) {
    Tensor gate = lab.random(F32, sizes.tokens(), sizes.inner(), 4);
    Tensor up = lab.random(F32, sizes.tokens(), sizes.inner(), 1);
    Tensor gradient = lab.random(F32, sizes.tokens(), sizes.inner(), 1);
    return new Job(lab)
        .launches(
            Grid.of(Math.ceilDiv(gate.elements(), ELEMENTS), BLOCK),
            new Arguments()
                .pointer(gate)
                .pointer(up)
                .pointer(gradient)
                .int64(gate.elements())
                .int32(KernelCode.of(Activation.SILU)))
        .moves(bytes(gate, up, gradient), bytes(gate, up))
        .consumes(gate, up)
        .expects(
            on ->
                on.backend()
                    .training()
                    .gatedGradients(Activation.SILU, on.of(gate), on.of(up), on.of(gradient)),
            SUMS,
            gate,
            up);
  }

  private static Job clampedGateGradients(DType dtype, Sizes sizes, Lab lab) {
    ClampedGate gate = new ClampedGate(1.702, 7);
    Tensor gateUp = lab.random(F32, sizes.tokens(), 2 * sizes.inner(), 4);
    Tensor gradient = lab.random(F32, sizes.tokens(), sizes.inner(), 1);
    return new Job(lab)
        .launches(
            Grid.of(Math.ceilDiv(gradient.elements(), ELEMENTS), BLOCK),
            new Arguments()
                .pointer(gateUp)
                .pointer(gradient)
                .int64(gradient.elements())
                .float32(gate.slope())
                .float32(gate.limit()))
        .moves(bytes(gateUp, gradient), bytes(gateUp))
        .consumes(gateUp)
        .expects(
            on ->
                on.backend().training().clampedGateGradients(on.of(gateUp), gate, on.of(gradient)),
            SUMS,
            gateUp);
  }

  private static Job rowProducts(DType dtype, Sizes sizes, Lab lab) {
    Tensor a = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    Tensor b = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    Tensor out = lab.random(F32, sizes.tokens(), 1, 1);
    return new Job(lab)
        .launches(
            Grid.of(a.rows(), CudaBackend.rowBlock(a.columns())),
            new Arguments().pointer(a).pointer(b).pointer(out).int64(a.columns()))
        .moves(bytes(a, b), bytes(out))
        .expects(
            on -> on.backend().training().rowProducts(on.of(a), on.of(b), on.of(out)), SUMS, out);
  }

  private static Job columnSums(DType dtype, Sizes sizes, Lab lab) {
    long rows = sizes.tokens();
    long parts = Math.ceilDiv(rows, SUMMED_ROWS);
    Tensor x = lab.random(F32, rows, sizes.inner(), 1);
    Tensor out = lab.random(F32, parts, sizes.inner(), 1);
    return new Job(lab)
        .launches(
            new Grid(Math.ceilDiv(x.columns(), COLUMNS), parts, 1, BLOCK, 0),
            new Arguments()
                .pointer(x)
                .pointer(out)
                .int64(rows)
                .int64(x.columns())
                .int64(SUMMED_ROWS)
                .int32(0))
        .moves(bytes(x), bytes(out))
        .expects(
            on -> {
              MemoryTensor from = on.of(x);
              for (long part = 0; part < on.of(out).rows(); part++) {
                long first = part * SUMMED_ROWS;
                on.backend()
                    .training()
                    .addColumns(
                        from.slice(first, Math.min(from.rows(), first + SUMMED_ROWS)),
                        zeroed(on.of(out).slice(part, part + 1)));
              }
            },
            SUMS,
            out)
        .samples(ofParts(SUMMED_ROWS, out, x));
  }

  /** Without a label, and with made-up sums of exponentials. */
  private static Job distillation(DType dtype, Sizes sizes, Lab lab) {
    long columns = sizes.config().vocabSize();
    int rows = (int) Math.min(sizes.tokens(), Math.max(1, LOGITS_BYTES / 8 / columns));
    Tensor logits = lab.random(F32, rows, columns, 8);
    Tensor reference = lab.random(F32, rows, columns, 8);
    double[] state = new double[5 * rows];
    for (int i = 0; i < state.length; i += 5) {
      state[i] = 8;
      state[i + 1] = 3;
      state[i + 2] = 3 + i;
      state[i + 3] = 8;
      state[i + 4] = 2;
    }
    int[] targets = new int[rows];
    Arrays.fill(targets, -1);
    long losses = lab.room(8L * rows);
    return new Job(lab)
        .launches(
            Grid.of(rows, BLOCK),
            new Arguments()
                .pointer(logits)
                .pointer(reference)
                .pointer(lab.table(state))
                .pointer(lab.table(targets))
                .pointer(0)
                .pointer(losses)
                .int64(columns)
                .float32(0)
                .float32(0.5)
                .float32(0))
        .moves(bytes(logits, reference), bytes(logits))
        .expects(
            on -> {
              MemoryTensor to = on.of(logits);
              for (long i = 0; i < to.elements(); i++) {
                double share = Math.exp(to.get(i) - 8) / 2;
                double wanted = Math.exp(on.of(reference).get(i) - 8) / 3;
                to.set(i, 0.5 * (share - wanted));
              }
            },
            SUMS,
            logits)
        .checks(
            on -> {
              double[] found = new double[rows];
              lab.device().download(losses, MemorySegment.ofArray(found));
              for (int r = 0; r < rows; r++) {
                double expected = (3 + 5.0 * r) / 3 - Math.log(3) + Math.log(2);
                Values.requireClose("loss", found[r], expected, 1e-9 * (1 + expected));
              }
            })
        .samples(new Samples().rows(Samples.of(rows), logits, reference));
  }

  /** Of the gradients of a layer, on made-up parts of sums. */
  private static Job dampings(DType dtype, Sizes sizes, Lab lab) {
    TrainingOps.Damping step = new TrainingOps.Damping(1, 0, 3, 1e-3);
    double[] parts = new double[GRADIENTS * GRADIENT_PARTS];
    Arrays.setAll(parts, i -> i);
    long[] ends = new long[GRADIENTS];
    Arrays.setAll(ends, i -> (i + 1L) * GRADIENT_PARTS);
    long[] elements = new long[GRADIENTS];
    Arrays.fill(elements, sizes.hidden());
    long running = lab.room((long) GRADIENTS * Double.BYTES);
    Tensor out = lab.random(F32, GRADIENTS, 1, 1);
    return new Job(lab)
        .launches(
            Grid.of(GRADIENTS, BLOCK),
            new Arguments()
                .pointer(lab.table(parts))
                .pointer(lab.table(MemorySegment.ofArray(ends)))
                .pointer(lab.table(MemorySegment.ofArray(elements)))
                .pointer(running)
                .pointer(out)
                .float64(step.beta())
                .float64(1 - step.beta())
                .float64(step.factor())
                .float64(step.correction())
                .float64(step.least()))
        .moves((double) parts.length * Double.BYTES, bytes(out))
        .expects(
            on -> {
              for (int i = 0; i < GRADIENTS; i++) {
                int first = i * GRADIENT_PARTS;
                double sum = Arrays.stream(parts, first, first + GRADIENT_PARTS).sum();
                on.of(out).set(i, step.damping(step.running(0, sum / sizes.hidden())));
              }
            },
            SUMS,
            out)
        .samples(Samples.ALL);
  }

  /** Of the gradients of a layer's norms and of one matrix. */
  private static Job squares(DType dtype, Sizes sizes, Lab lab) {
    List<Tensor> gradients =
        List.of(
            lab.random(F32, 1, sizes.hidden(), 1),
            lab.random(F32, sizes.inner(), sizes.hidden(), 1),
            lab.random(F32, 1, sizes.hidden(), 1));
    MemorySegment table = MemorySegment.ofArray(new long[4 * gradients.size()]);
    long[] ends = new long[gradients.size()];
    long blocks = 0;
    for (int i = 0; i < ends.length; i++) {
      long elements = gradients.get(i).elements();
      long parts = Math.min(GRADIENT_PARTS, Math.ceilDiv(elements, PART_ELEMENTS));
      table.setAtIndex(JAVA_LONG, 4L * i, elements);
      table.setAtIndex(JAVA_LONG, 4L * i + 1, blocks);
      table.setAtIndex(JAVA_LONG, 4L * i + 2, BenchDevice.address(gradients.get(i)));
      table.setAtIndex(JAVA_LONG, 4L * i + 3, parts);
      blocks += parts;
      ends[i] = blocks;
    }
    double[] partial = new double[(int) blocks];
    long sums = lab.room(blocks * Double.BYTES);
    return new Job(lab)
        .launches(
            Grid.of(blocks, BLOCK),
            new Arguments().pointer(lab.table(table)).int32(ends.length).pointer(sums))
        .moves(bytes(gradients.toArray(Tensor[]::new)), (double) blocks * Double.BYTES)
        .samples(Samples.ALL)
        .checks(
            on -> {
              lab.device().download(sums, MemorySegment.ofArray(partial));
              List<Tensor> all = gradients.stream().<Tensor>map(on::of).toList();
              double[] expected = on.backend().training().sumsOfSquares(all);
              for (int i = 0; i < ends.length; i++) {
                int first = i == 0 ? 0 : (int) ends[i - 1];
                double sum = Arrays.stream(partial, first, (int) ends[i]).sum();
                Values.requireClose("sum of squares", sum, expected[i], 1e-6 * expected[i]);
              }
            });
  }

  private static Job adamW(DType dtype, Sizes sizes, Lab lab) {
    Tensor gradient = lab.random(F32, sizes.inner(), sizes.hidden(), 1);
    Tensor mean = lab.random(F32, sizes.inner(), sizes.hidden(), 1);
    Tensor square = lab.random(F32, sizes.inner(), sizes.hidden(), 0);
    Tensor master = lab.random(F32, sizes.inner(), sizes.hidden(), 1);
    Tensor weight = lab.random(dtype, sizes.inner(), sizes.hidden(), 1);
    return new Job(lab)
        .launches(
            Grid.of(Math.ceilDiv(gradient.elements(), STEP_ELEMENTS), BLOCK),
            jobOf(
                lab,
                gradient,
                BenchDevice.address(mean),
                BenchDevice.address(square),
                master,
                weight))
        .moves(bytes(gradient, mean, square, master), bytes(gradient, mean, square, master, weight))
        .consumes(gradient)
        .expects(
            on ->
                on.backend()
                    .training()
                    .adamW(
                        List.of(
                            new TrainingOps.Update(
                                STEP,
                                null,
                                on.of(gradient),
                                on.of(mean),
                                on.of(square),
                                on.of(master),
                                on.of(weight)))),
            SUMS,
            mean,
            square,
            master)
        .exactly(gradient)
        .within(ROUNDED, weight)
        .samples(
            new Samples().rows(Samples.of(sizes.inner()), gradient, mean, square, master, weight));
  }

  /** From running means of zeros; codes are tested beside the kernel. */
  private static Job adamW8Bit(DType dtype, Sizes sizes, Lab lab) {
    Tensor gradient = lab.random(F32, sizes.inner(), sizes.hidden(), 1);
    Tensor master = lab.random(F32, sizes.inner(), sizes.hidden(), 1);
    Tensor weight = lab.random(dtype, sizes.inner(), sizes.hidden(), 1);
    long blocks = EightBitMoments.blocks(gradient.elements());
    long bytes = blocks * EightBitMoments.ROW * Float.BYTES;
    return new Job(lab)
        .launches(
            Grid.of(Math.ceilDiv(gradient.elements(), STEP_ELEMENTS_8BIT), BLOCK),
            jobOf(lab, gradient, lab.room(bytes), 0, master, weight))
        .moves(bytes(gradient, master) + bytes, bytes(gradient, master, weight) + bytes)
        .consumes(gradient)
        .expects(
            on -> {
              try (MemoryArena arena = new MemoryArena()) {
                MemoryTensor from = on.of(gradient);
                Tensor moments =
                    arena.allocate(
                        F32, EightBitMoments.blocks(from.elements()), EightBitMoments.ROW);
                on.backend()
                    .training()
                    .adamW8Bit(
                        List.of(
                            new TrainingOps.Update8Bit(
                                STEP, from, moments, on.of(master), on.of(weight))));
              }
            },
            SUMS,
            master)
        .exactly(gradient)
        .within(ROUNDED, weight)
        .samples(new Samples().rows(Samples.of(sizes.inner()), gradient, master, weight));
  }

  /** The arguments of a kernel of AdamW: a table with one AdamJob of cuda/adam_w.cuh. */
  private static Arguments jobOf(
      Lab lab, Tensor gradient, long mean, long square, Tensor master, Tensor weight) {
    long[] words = {
      gradient.elements(),
      0,
      BenchDevice.address(gradient),
      mean,
      square,
      BenchDevice.address(master),
      BenchDevice.address(weight),
      0,
      STEP.key()
    };
    double[] numbers = {
      STEP.gradientScale(),
      STEP.beta1(),
      1 - STEP.beta1(),
      STEP.beta2(),
      1 - STEP.beta2(),
      STEP.stepSize(),
      1 / STEP.squareCorrection(),
      STEP.epsilon(),
      STEP.rate() * STEP.decay()
    };
    MemorySegment job = MemorySegment.ofArray(new long[14]);
    MemorySegment.copy(words, 0, job, JAVA_LONG, 0, words.length);
    for (int i = 0; i < numbers.length; i++) {
      job.setAtIndex(JAVA_FLOAT, 2L * words.length + i, (float) numbers[i]);
    }
    return new Arguments().pointer(lab.table(job)).int32(1);
  }
}
