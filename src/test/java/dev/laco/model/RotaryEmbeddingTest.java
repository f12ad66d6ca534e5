package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Angles depend on a token's position and on the length of its sequence, and on nothing else. */
final class RotaryEmbeddingTest {
  private static final int WIDTH = 6;

  static List<RopeParameters.Scaling> scalings() {
    return List.of(
        new RopeParameters.Default(),
        new RopeParameters.Linear(4),
        new RopeParameters.Dynamic(2, 6_000),
        new RopeParameters.Llama3(8, 1, 4, 8_192),
        new RopeParameters.Yarn(4, 1.3, 32, 1, true, 4_096),
        new RopeParameters.LongRope(List.of(1.0, 1.1, 1.2), List.of(2.0, 3.0, 4.0), 1.2, 6_000));
  }

  @ParameterizedTest
  @MethodSource("scalings")
  void whatWasAskedForBeforeChangesNothing(RopeParameters.Scaling scaling) {
    RotaryEmbedding used = embedding(scaling);
    // Short ones, longer ones, ones that begin behind others, and ones behind all that is kept.
    for (int[] sequence :
        new int[][] {
          {0, 3}, {0, 2}, {5, 7}, {1, 900}, {5_990, 6_010}, {8_190, 8_200}, {9_000, 9_002}
        }) {
      assertArrayEquals(
          angles(embedding(scaling), batch(sequence)),
          angles(used, batch(sequence)),
          Arrays.toString(sequence));
    }
    float[] two = angles(used, batch(new int[] {2, 5}, new int[] {0, 4}));
    assertEquals(2 * 7 * WIDTH / 2, two.length);
    float[] first = angles(embedding(scaling), batch(new int[] {2, 5}));
    float[] second = angles(embedding(scaling), batch(new int[] {0, 4}));
    assertArrayEquals(Arrays.copyOf(first, 9), Arrays.copyOf(two, 9));
    assertArrayEquals(Arrays.copyOf(second, 12), Arrays.copyOfRange(two, 9, 21));
  }

  /** As {@code get_llama_4_attn_scale} of transformers has it: longer from 16 positions on. */
  @Test
  void queriesOfLaterPositionsAreLonger() {
    RopeParameters queries =
        new RopeParameters(
            10_000, 1, new RopeParameters.Default(), new RopeParameters.QueryScale(0.1, 16));
    float[] keys = angles(new RotaryEmbedding(queries.ofKeys(), WIDTH), batch(new int[] {0, 40}));
    float[] longer = angles(new RotaryEmbedding(queries, WIDTH), batch(new int[] {0, 40}));
    double[] factors = {1, 1 + 0.1 * Math.log(2), 1 + 0.1 * Math.log(3)};
    for (int i = 0; i < keys.length; i++) {
      int position = i % (40 * WIDTH / 2) / (WIDTH / 2);
      assertEquals(keys[i] * factors[position / 16], longer[i], 1e-6);
    }
    assertEquals(new RopeParameters(10_000, 1, new RopeParameters.Default()), queries.ofKeys());
  }

  private static RotaryEmbedding embedding(RopeParameters.Scaling scaling) {
    return new RotaryEmbedding(new RopeParameters(10_000, 1, scaling), WIDTH);
  }

  /** Sequences of tokens from a position on to before another. */
  private static PackedSequences batch(int[]... positions) {
    int[] offsets = new int[positions.length + 1];
    int[] past = new int[positions.length];
    for (int s = 0; s < positions.length; s++) {
      past[s] = positions[s][0];
      offsets[s + 1] = offsets[s] + positions[s][1] - positions[s][0];
    }
    return new PackedSequences(new int[offsets[positions.length]], offsets, past);
  }

  /** Cosines of all tokens, then sines. */
  private static float[] angles(RotaryEmbedding embedding, PackedSequences batch) {
    int count = batch.size() * embedding.pairs();
    float[] cosines = new float[count];
    float[] sines = new float[count];
    embedding.fill(batch, cosines, sines, 0);
    float[] all = Arrays.copyOf(cosines, 2 * count);
    System.arraycopy(sines, 0, all, count, count);
    return all;
  }
}
