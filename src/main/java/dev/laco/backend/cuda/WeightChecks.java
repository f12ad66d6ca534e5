package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/**
 * Looks for NaN and infinity in weights. Each weight has a word in device memory, into which a
 * kernel writes what it found. The words come to the host with the next result, so that the host
 * need not wait for them.
 */
final class WeightChecks {
  /** Weights whose words are on the device at once. */
  private static final int MOST = 4096;

  /** Bytes of a weight that one block of the kernel takes. */
  private static final long BLOCK_BYTES = 16384;

  private static final int BLOCK = 256;

  private final CudaDriver driver;
  private final CudaStream stream;
  private final Launcher launcher;
  private final DeviceBuffer words;
  private final PinnedBuffer copy;

  /** Who is to be told what was found in each weight whose word is on the device. */
  private final List<Consumer<Boolean>> waiting = new ArrayList<>();

  WeightChecks(CudaContext context, Launcher launcher) {
    this.driver = context.driver();
    this.stream = context.stream();
    this.launcher = launcher;
    this.words = new DeviceBuffer(context, (long) MOST * Integer.BYTES, "checks of weights");
    this.copy = new PinnedBuffer(context, words.bytes(), "checks of weights");
  }

  /**
   * Queues the check of a weight that is on the device, or arrives there before the work that is
   * queued next.
   *
   * @param found is told whether all values are finite
   */
  void begin(CudaTensor weight, Consumer<Boolean> found) {
    if (waiting.size() == MOST) {
      fetch();
      stream.synchronize();
      tell();
    }
    if (waiting.isEmpty()) {
      driver.zero(words.address(), words.bytes(), stream.handle());
    }
    launcher
        .of(Kernel.NON_FINITE, weight.dtype())
        .pointer(weight.input())
        .int64(weight.elements())
        .pointer(words.address() + (long) waiting.size() * Integer.BYTES)
        .run(Math.ceilDiv(weight.bytes(), BLOCK_BYTES), BLOCK);
    waiting.add(found);
  }

  /** Queues the copy of all words to the host. To be called before the host waits for a result. */
  void fetch() {
    if (!waiting.isEmpty()) {
      long bytes = (long) waiting.size() * Integer.BYTES;
      driver.copyToHost(copy.segment().asSlice(0, bytes), words.address(), stream.handle());
    }
  }

  /** Tells what was found, after the host has waited for what {@link #fetch} queued. */
  void tell() {
    List<Consumer<Boolean>> told = List.copyOf(waiting);
    waiting.clear();
    for (int i = 0; i < told.size(); i++) {
      told.get(i).accept(copy.segment().getAtIndex(JAVA_INT, i) == 0);
    }
  }
}
