package dev.laco.bench.gpu;

import static java.nio.channels.FileChannel.MapMode.READ_ONLY;

import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.infra.BenchmarkParams;

/**
 * Copies to the device, and waits for them: from pinned memory, which is what the bus does; and
 * from a mapped file through the engine's staging buffers, which is how weights come up.
 */
@OutputTimeUnit(TimeUnit.MICROSECONDS)
public class UploadBenchmark extends GpuCase {
  private static final long MEBIBYTE = 1L << 20;

  @Param("256")
  public int mebibytes;

  private final Arena files = Arena.ofShared();
  private BenchDevice device;
  private TensorArena arena;
  private Path file;
  private MemorySegment mapped;
  private MemorySegment pinned;
  private long to;

  @Setup(Level.Trial)
  public void prepare() throws IOException {
    device = open();
    arena = device.arena();
    long bytes = mebibytes * MEBIBYTE;
    Tensor tensor = arena.allocate(DType.F32, 1, bytes / Float.BYTES);
    device.fill(tensor, 1, 1);
    to = BenchDevice.address(tensor);
    pinned = device.pinned(bytes);
    device.download(to, pinned);
    file = Files.createTempFile("laco", ".weights");
    try (FileChannel channel =
        FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
      MemorySegment content = channel.map(FileChannel.MapMode.READ_WRITE, 0, bytes, files);
      content.copyFrom(pinned);
      mapped = channel.map(READ_ONLY, 0, bytes, files);
    }
    verify(this::pinned);
    verify(this::mapped);
  }

  /** What comes down again is what went up. */
  private void verify(Runnable upload) {
    upload.run();
    try (Arena memory = Arena.ofConfined()) {
      MemorySegment back = memory.allocate(pinned.byteSize(), ValueLayout.JAVA_LONG.byteSize());
      device.download(to, back);
      if (back.mismatch(pinned) != -1) {
        throw new AssertionError("a copy differs at byte " + back.mismatch(pinned));
      }
    }
  }

  @Benchmark
  public void pinned() {
    device.uploadPinned(pinned, to);
    device.synchronize();
  }

  @Benchmark
  public void mapped() {
    device.upload(mapped, to);
    device.synchronize();
  }

  @TearDown(Level.Trial)
  public void close(BenchmarkParams parameters) throws IOException {
    arena.close();
    files.close();
    Files.delete(file);
    finish(parameters, device, (double) mebibytes * MEBIBYTE, 0, List.of(), Map.of());
  }
}
