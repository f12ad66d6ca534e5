package dev.laco.backend.cuda;

import dev.laco.ResourceException;
import dev.laco.Setting;
import dev.laco.backend.AttentionSpec;
import dev.laco.model.DType;
import java.util.Locale;

/**
 * The attention kernel for a shape and precision, and how it is launched: see {@code
 * cuda/attention.cu} and {@code cuda/attention_gradient.cu}.
 *
 * @param rows how many pairs of a query and a head one block computes, or how many keys
 * @param block threads of a block
 * @param sharedBytes dynamic shared memory of a block
 */
record AttentionLaunch(Kernel kernel, DType dtype, int rows, int block, int sharedBytes) {
  private static final int MAX_WIDTH = 512;
  private static final int MAX_TENSOR_CORE_WIDTH = 256;
  private static final int MAX_TENSOR_CORE_GRADIENT_WIDTH = 128;

  /** The type in which the kernel for heads of a width multiplies, and reads keys and values. */
  static DType dtype(DType products, int width) {
    return width % 16 == 0 && width <= MAX_TENSOR_CORE_WIDTH ? products : DType.F32;
  }

  static AttentionLaunch of(AttentionSpec spec) {
    int width = spec.headDim();
    DType dtype = dtype(spec.products(), width);
    if (dtype != DType.F32) {
      if (width <= 64) {
        return new AttentionLaunch(Kernel.ATTENTION_64, dtype, 128, 256, 24_576);
      }
      return width <= 128
          ? new AttentionLaunch(Kernel.ATTENTION_128, dtype, 128, 128, 49_152)
          : new AttentionLaunch(Kernel.ATTENTION_256, dtype, 128, 256, 98_304);
    }
    return inF32(width);
  }

  /**
   * The kernel where gradients follow, which are those of the numbers that it multiplied: f32 where
   * the gradients are computed in f32, although attention would round to bf16 otherwise.
   */
  static AttentionLaunch beforeGradient(AttentionSpec spec) {
    AttentionLaunch usual = of(spec);
    return usual.dtype == DType.BF16 && ofGradient(spec, true).dtype == DType.F32
        ? inF32(spec.headDim())
        : usual;
  }

  private static AttentionLaunch inF32(int width) {
    return new AttentionLaunch(Kernel.ATTENTION, DType.F32, 16, 128, sharedBytes(width));
  }

  /**
   * The kernel of the gradients by keys and values, or that of the gradients by queries. What it
   * multiplies must have its dtype. That is f32 where attention multiplies in f16, too, which has
   * no numbers as small as gradients are.
   */
  static AttentionLaunch ofGradient(AttentionSpec spec, boolean keys) {
    int width = spec.headDim();
    if (spec.products() == DType.BF16
        && width % 16 == 0
        && width <= MAX_TENSOR_CORE_GRADIENT_WIDTH) {
      return width <= 64
          ? new AttentionLaunch(
              keys ? Kernel.ATTENTION_GRADIENT_KEYS_64 : Kernel.ATTENTION_GRADIENT_QUERIES_64,
              DType.BF16,
              64,
              128,
              32_768)
          : new AttentionLaunch(
              keys ? Kernel.ATTENTION_GRADIENT_KEYS_128 : Kernel.ATTENTION_GRADIENT_QUERIES_128,
              DType.BF16,
              64,
              128,
              65_536);
    }
    Kernel kernel = keys ? Kernel.ATTENTION_GRADIENT_KEYS : Kernel.ATTENTION_GRADIENT_QUERIES;
    return new AttentionLaunch(kernel, DType.F32, 8, 128, sharedBytes(width));
  }

  /** Whether a block takes keys, and not pairs of a query and a head. */
  private boolean takesKeys() {
    return switch (kernel) {
      case ATTENTION_GRADIENT_KEYS, ATTENTION_GRADIENT_KEYS_64, ATTENTION_GRADIENT_KEYS_128 -> true;
      default -> false;
    };
  }

  /** Shared memory of the kernels that calculate in f32. */
  private static int sharedBytes(int width) {
    if (width > MAX_WIDTH) {
      throw new ResourceException(
          String.format(
              Locale.ROOT,
              "attention heads of %d are wider than %d, what a CUDA device takes; use %s cpu",
              width,
              MAX_WIDTH,
              Setting.of("device")));
    }
    return 192 * 32 * Math.ceilDiv(width, 32) + 512;
  }

  /** Launches the kernel, to which the launcher has been given the tensors. */
  void run(Launcher launcher, AttentionSpec spec, CudaBatch batch, long slopes) {
    long all = takesKeys() ? 1 : spec.numHeads() / spec.numKeyValueHeads();
    launcher
        .pointer(batch.offsets())
        .pointer(batch.keyOffsets())
        .pointer(batch.past())
        .pointer(slopes)
        .int32(spec.numHeads())
        .int32(spec.numKeyValueHeads())
        .int32(spec.headDim())
        .int32(spec.slidingWindow())
        .float32((float) spec.scores().scale())
        .float32((float) spec.scores().softCap())
        .run(
            Math.ceilDiv(batch.longest() * all, rows),
            spec.numKeyValueHeads(),
            batch.sequences().sequences(),
            block,
            sharedBytes);
  }
}
