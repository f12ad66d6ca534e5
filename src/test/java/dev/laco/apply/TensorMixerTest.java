package dev.laco.apply;

import static java.nio.file.StandardOpenOption.CREATE_NEW;
import static java.nio.file.StandardOpenOption.WRITE;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.laco.BadInputException;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TensorMixerTest {
  @TempDir Path folder;

  @Test
  void productsAreRoundedBeforeTheyAreAdded() throws IOException {
    HostTensor values = f32(1.1f, 0.3f, -7e-20f, 3e37f);
    // A fused multiply-add would leave the rounding error of the first product.
    assertArrayEquals(
        new float[4], mix(List.of(0.1, -0.1), values, values), "exactly zero everywhere");
  }

  @Test
  void sumsFollowTheOrderOfTheSources() throws IOException {
    assertArrayEquals(
        new float[] {0}, mix(List.of(1.0, 1.0, 1.0), f32(1e30f), f32(1), f32(-1e30f)));
    assertArrayEquals(
        new float[] {1}, mix(List.of(1.0, 1.0, 1.0), f32(1e30f), f32(-1e30f), f32(1)));
  }

  @Test
  void aSumOfNegativeZerosIsNegativeZero() throws IOException {
    float[] zero = mix(List.of(1.0, 2.0), f32(-0f), f32(-0f));
    assertEquals(Integer.MIN_VALUE, Float.floatToRawIntBits(zero[0]));
  }

  @Test
  void sourcesOfDifferentTypesAreMixedInFullWidth() throws IOException {
    HostTensor half = shorts(DType.F16, Float.floatToFloat16(0.1f));
    HostTensor brain = shorts(DType.BF16, DType.toBf16(0.1));
    double expected =
        (0.7 * Float.float16ToFloat(Float.floatToFloat16(0.1f)))
            + (0.2 * DType.bf16ToFloat(DType.toBf16(0.1)))
            + (1 / 3.0 * 0.1f);
    assertArrayEquals(
        new float[] {(float) expected}, mix(List.of(0.7, 0.2, 1 / 3.0), half, brain, f32(0.1f)));
  }

  @Test
  void everyElementOfATensorLargerThanTheBufferIsMixed() throws IOException {
    int elements = (1 << 21) + (1 << 15) + 7;
    Random random = new Random(1);
    float[] one = new float[elements];
    float[] other = new float[elements];
    float[] expected = new float[elements];
    for (int i = 0; i < elements; i++) {
      one[i] = random.nextFloat();
      other[i] = random.nextFloat();
      double first = -2.5 * one[i];
      double second = 0.3 * other[i];
      expected[i] = (float) (first + second);
    }
    assertArrayEquals(expected, mix(List.of(-2.5, 0.3), f32(one), f32(other)));
    assertArrayEquals(new float[0], mix(List.of(-2.5, 0.3), f32(), f32()));
  }

  @Test
  void whatTheTypeCannotHoldIsRefused() {
    var e = assertThrows(BadInputException.class, () -> mix(List.of(2.0, 1.0), f32(3e38f), f32(0)));
    assertEquals(true, e.getMessage().contains("tensor 'made'"), e.getMessage());
  }

  private float[] mix(List<Double> coefficients, HostTensor... sources) throws IOException {
    Path file = Files.createTempDirectory(folder, "m").resolve("out");
    try (FileChannel channel = FileChannel.open(file, CREATE_NEW, WRITE)) {
      new TensorMixer("made", DType.F32, coefficients, List.of(sources)).writeTo(channel);
    }
    ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
    float[] values = new float[bytes.remaining() / Float.BYTES];
    bytes.asFloatBuffer().get(values);
    return values;
  }

  private static HostTensor f32(float... values) {
    return new HostTensor(
        "source", DType.F32, List.of((long) values.length), MemorySegment.ofArray(values));
  }

  private static HostTensor shorts(DType dtype, short... values) {
    return new HostTensor(
        "source", dtype, List.of((long) values.length), MemorySegment.ofArray(values));
  }
}
