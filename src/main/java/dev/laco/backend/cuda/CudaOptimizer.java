package dev.laco.backend.cuda;

import static dev.laco.backend.cuda.CudaBackend.input;
import static dev.laco.backend.cuda.CudaBackend.output;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.backend.Tensor;
import dev.laco.backend.TrainingOps.AdamW;
import dev.laco.backend.TrainingOps.Damping;
import dev.laco.backend.TrainingOps.Update;
import dev.laco.backend.TrainingOps.Update8Bit;
import dev.laco.model.DType;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The ops of an optimizer on an NVIDIA GPU. One launch serves all tensors of a call, or one for
 * each dtype of weights: a layer has nine tensors or more, some of which are small, and a launch
 * costs the host as long as a small one takes the device.
 */
final class CudaOptimizer {
  private static final int BLOCK = 256;

  /** Elements that a block of the kernel of AdamW takes. */
  private static final long STEP_ELEMENTS = 4096;

  /** Elements that a block of the kernel of AdamW with 8 bits takes. */
  private static final long STEP_ELEMENTS_8BIT = 8192;

  /** Elements of a part of a sum of squares at least. */
  private static final long PART_ELEMENTS = 4096;

  /** Parts of a sum of squares at most. */
  private static final int MOST_PARTS = 128;

  // Offsets of the fields of AdamJob in cuda/adam_w.cuh. Jobs of all kernels begin with the number
  // of elements and that of the first block.
  private static final long ELEMENTS = 0;
  private static final long FIRST_BLOCK = 8;
  private static final long GRADIENT = 16;
  private static final long MEAN = 24;
  private static final long SQUARE = 32;
  private static final long MASTER = 40;
  private static final long WEIGHT = 48;
  private static final long DAMPING = 56;
  private static final long KEY = 64;
  private static final long STEP = 72;
  private static final long ADAM_JOB = 112;

  // Likewise of SquaresJob in cuda/squares.cu.
  private static final long X = 16;
  private static final long PARTS = 24;
  private static final long SQUARES_JOB = 32;

  private final CudaContext context;
  private final Launcher launcher;
  private final ArgumentRing arguments;
  private final Staging staging;
  private final Scratch sums;

  CudaOptimizer(CudaContext context, Launcher launcher, ArgumentRing arguments, Staging staging) {
    this.context = context;
    this.launcher = launcher;
    this.arguments = arguments;
    this.staging = staging;
    this.sums = new Scratch(context, "sums of squares");
  }

  /**
   * Parts of sums of squares in the device's memory, valid until the next sums.
   *
   * @param address of the parts, in f64, tensor after tensor
   * @param ends the number of parts up to the last of each tensor
   */
  private record Parts(long address, int[] ends) {
    int count() {
      return ends[ends.length - 1];
    }
  }

  /** See {@link dev.laco.backend.TrainingOps#sumsOfSquares}. The host waits once. */
  double[] sumsOfSquares(List<Tensor> tensors) {
    context.enter();
    Parts parts = squares(tensors);
    double[] partial = new double[parts.count()];
    staging.download(parts.address, MemorySegment.ofArray(partial), context.stream());
    double[] squares = new double[tensors.size()];
    for (int i = 0, from = 0; i < squares.length; from = parts.ends[i], i++) {
      squares[i] = Arrays.stream(partial, from, parts.ends[i]).sum();
    }
    return squares;
  }

  /** See {@link dev.laco.backend.TrainingOps#dampings}. */
  void dampings(Damping step, List<Tensor> gradients, Tensor running, Tensor out) {
    context.enter();
    Parts parts = squares(gradients);
    // Behind the table of the sums, which may have used all memory of tables again.
    long column = (long) gradients.size() * Long.BYTES;
    ArgumentRing.Table table = arguments.table(2 * column);
    for (int i = 0; i < gradients.size(); i++) {
      table.memory().setAtIndex(JAVA_LONG, i, parts.ends[i]);
      long elements = gradients.get(i).elements();
      table.memory().setAtIndex(JAVA_LONG, (long) gradients.size() + i, elements);
    }
    table.send();
    launcher
        .of(Kernel.DAMPINGS, DType.F32)
        .pointer(parts.address)
        .pointer(table.address())
        .pointer(table.address() + column)
        .pointer(output(running))
        .pointer(output(out))
        .float64(step.beta())
        .float64(1 - step.beta())
        .float64(step.factor())
        .float64(step.correction())
        .float64(step.least())
        .run(gradients.size(), BLOCK);
  }

  private Parts squares(List<Tensor> tensors) {
    int[] ends = new int[tensors.size()];
    ArgumentRing.Table table = arguments.table(tensors.size() * SQUARES_JOB);
    MemorySegment memory = table.memory();
    int first = 0;
    for (int i = 0; i < ends.length; i++) {
      Tensor x = tensors.get(i);
      int parts = (int) Math.min(MOST_PARTS, Math.ceilDiv(x.elements(), PART_ELEMENTS));
      long job = i * SQUARES_JOB;
      memory.set(JAVA_LONG, job + ELEMENTS, x.elements());
      memory.set(JAVA_LONG, job + FIRST_BLOCK, first);
      memory.set(JAVA_LONG, job + X, input(x));
      memory.set(JAVA_LONG, job + PARTS, parts);
      first += parts;
      ends[i] = first;
    }
    long partial = sums.atLeast((long) first * Double.BYTES);
    table.send();
    launcher
        .of(Kernel.SQUARES, DType.F32)
        .pointer(table.address())
        .int32(ends.length)
        .pointer(partial)
        .run(first, BLOCK);
    return new Parts(partial, ends);
  }

  /** See {@link dev.laco.backend.TrainingOps#adamW}. */
  void adamW(List<Update> updates) {
    launch(Kernel.ADAM_W, STEP_ELEMENTS, updates.stream().map(Job::of).toList());
  }

  /** See {@link dev.laco.backend.TrainingOps#adamW8Bit}. */
  void adamW8Bit(List<Update8Bit> updates) {
    launch(Kernel.ADAM_W_8BIT, STEP_ELEMENTS_8BIT, updates.stream().map(Job::of).toList());
  }

  /**
   * A tensor that a kernel moves.
   *
   * @param mean running means of gradients, or both running means in 8 bits
   * @param square null where {@code mean} has these running means, too
   */
  private record Job(
      AdamW step,
      Tensor gradient,
      Tensor mean,
      @Nullable Tensor square,
      @Nullable Tensor master,
      Tensor weight,
      @Nullable Tensor damping) {
    static Job of(Update x) {
      return new Job(
          x.step(), x.gradient(), x.mean(), x.square(), x.master(), x.weight(), x.damping());
    }

    static Job of(Update8Bit x) {
      return new Job(x.step(), x.gradient(), x.moments(), null, x.master(), x.weight(), null);
    }

    void write(MemorySegment memory, long at, long firstBlock) {
      memory.set(JAVA_LONG, at + ELEMENTS, gradient.elements());
      memory.set(JAVA_LONG, at + FIRST_BLOCK, firstBlock);
      memory.set(JAVA_LONG, at + GRADIENT, output(gradient));
      memory.set(JAVA_LONG, at + MEAN, output(mean));
      memory.set(JAVA_LONG, at + SQUARE, square == null ? 0 : output(square));
      memory.set(JAVA_LONG, at + MASTER, master == null ? 0 : output(master));
      memory.set(JAVA_LONG, at + WEIGHT, output(weight));
      memory.set(JAVA_LONG, at + DAMPING, damping == null ? 0 : input(damping));
      memory.set(JAVA_LONG, at + KEY, step.key());
      double[] numbers = {
        step.gradientScale(),
        step.beta1(),
        1 - step.beta1(),
        step.beta2(),
        1 - step.beta2(),
        step.stepSize(),
        1 / step.squareCorrection(),
        step.epsilon(),
        step.rate() * step.decay()
      };
      for (int i = 0; i < numbers.length; i++) {
        memory.set(JAVA_FLOAT, at + STEP + (long) i * Float.BYTES, (float) numbers[i]);
      }
    }
  }

  /**
   * Launches a kernel for the jobs of each dtype of weights.
   *
   * @param elements that a block takes
   */
  private void launch(Kernel kernel, long elements, List<Job> all) {
    context.enter();
    for (DType dtype : DType.values()) {
      List<Job> jobs = all.stream().filter(job -> job.weight.dtype() == dtype).toList();
      if (jobs.isEmpty()) {
        continue;
      }
      ArgumentRing.Table table = arguments.table(jobs.size() * ADAM_JOB);
      long blocks = 0;
      for (int i = 0; i < jobs.size(); i++) {
        jobs.get(i).write(table.memory(), i * ADAM_JOB, blocks);
        blocks += Math.ceilDiv(jobs.get(i).gradient.elements(), elements);
      }
      table.send();
      launcher.of(kernel, dtype).pointer(table.address()).int32(jobs.size()).run(blocks, BLOCK);
    }
  }
}
