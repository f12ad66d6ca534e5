package dev.laco.text;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.UsageException;
import dev.laco.text.TextChunks.Chunk;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class TextChunksTest {
  private static final int[] BOS = {99};
  private static final int[] NO_BOS = {};

  @Test
  void chunksThatDoNotOverlapScoreAllTheirTokensAfterBos() {
    List<Chunk> chunks = TextChunks.cut(new int[] {1, 2, 3, 4, 5}, BOS, 2, 2);

    assertEquals(3, chunks.size());
    assertChunk(chunks.get(0), 1, 99, 1, 2);
    assertChunk(chunks.get(1), 1, 99, 3, 4);
    assertChunk(chunks.get(2), 1, 99, 5);
  }

  @Test
  void overlappingChunksScoreOnlyWhatIsNew() {
    List<Chunk> chunks = TextChunks.cut(new int[] {1, 2, 3, 4, 5, 6}, BOS, 4, 2);

    assertEquals(2, chunks.size());
    assertChunk(chunks.get(0), 1, 99, 1, 2, 3, 4);
    assertChunk(chunks.get(1), 3, 99, 3, 4, 5, 6);
  }

  @Test
  void withoutBosTheFirstTokenOfAWindowWithoutContextIsNotScored() {
    List<Chunk> apart = TextChunks.cut(new int[] {1, 2, 3, 4, 5}, NO_BOS, 2, 2);
    assertEquals(2, apart.size(), "the last chunk would hold one token that nothing predicts");
    assertChunk(apart.get(0), 1, 1, 2);
    assertChunk(apart.get(1), 1, 3, 4);

    List<Chunk> overlapping = TextChunks.cut(new int[] {1, 2, 3, 4, 5}, NO_BOS, 3, 2);
    assertEquals(2, overlapping.size());
    assertChunk(overlapping.get(0), 1, 1, 2, 3);
    assertChunk(overlapping.get(1), 1, 3, 4, 5);
  }

  @Test
  void aPrefixOfSeveralTokensIsInFrontOfEveryChunkAndNotScored() {
    List<Chunk> chunks = TextChunks.cut(new int[] {1, 2, 3, 4, 5}, new int[] {98, 99}, 3, 2);
    assertEquals(2, chunks.size());
    assertChunk(chunks.get(0), 2, 98, 99, 1, 2, 3);
    assertChunk(chunks.get(1), 3, 98, 99, 3, 4, 5);
    assertEquals(2, TextChunks.cut(new int[] {1, 2}, new int[] {98, 99}, 1, 1).size());
  }

  @Test
  void aTextShorterThanAWindowIsOneChunk() {
    List<Chunk> chunks = TextChunks.cut(new int[] {7, 8}, BOS, Integer.MAX_VALUE, 5);
    assertEquals(1, chunks.size());
    assertChunk(chunks.get(0), 1, 99, 7, 8);
    assertTrue(TextChunks.cut(new int[0], BOS, 4, 4).isEmpty());
  }

  @Test
  void impossibleLengthsAreUsageErrors() {
    assertUsageError("stride", BOS, 4, 5);
    assertUsageError("stride", BOS, 4, 0);
    assertUsageError("maxLength", BOS, 0, 1);
    assertUsageError("maxLength", NO_BOS, 1, 1);
    assertUsageError("maxLength", new int[] {98, 99}, 0, 1);
  }

  @ParameterizedTest
  @MethodSource("seeds")
  void everyTokenIsScoredExactlyOnceWithItsPredecessorsAsContext(int seed) {
    Random random = new Random(seed);
    int[] tokens = IntStream.range(0, random.nextInt(200)).toArray();
    boolean hasBos = random.nextBoolean();
    int maxLength = 2 + random.nextInt(50);
    int stride = 1 + random.nextInt(maxLength);
    int[] scored = new int[tokens.length];

    int start = 0;
    for (Chunk chunk : TextChunks.cut(tokens, hasBos ? BOS : NO_BOS, maxLength, stride)) {
      int[] ids = chunk.ids();
      int front = hasBos ? 1 : 0;
      if (hasBos) {
        assertEquals(99, ids[0]);
      }
      int[] content = Arrays.copyOfRange(ids, front, ids.length);
      assertTrue(content.length <= maxLength);
      assertArrayEquals(
          Arrays.copyOfRange(tokens, start, start + content.length),
          content,
          "starts every stride");
      assertTrue(chunk.firstScored() >= 1 && chunk.firstScored() < ids.length);
      for (int i = chunk.firstScored(); i < ids.length; i++) {
        scored[ids[i]]++;
      }
      start += stride;
    }
    for (int token = 0; token < tokens.length; token++) {
      boolean alone = !hasBos && token % stride == 0 && (token == 0 || stride == maxLength);
      assertEquals(alone ? 0 : 1, scored[token], "token " + token);
    }
  }

  static IntStream seeds() {
    return IntStream.range(0, 200);
  }

  private static void assertChunk(Chunk chunk, int firstScored, int... ids) {
    assertArrayEquals(ids, chunk.ids());
    assertEquals(firstScored, chunk.firstScored());
  }

  @Test
  void windowsAreFullAndEachOfTheirTokensIsScoredOnce() {
    Random random = new Random(5);
    for (int round = 0; round < 200; round++) {
      int[] tokens = IntStream.range(0, 2 + random.nextInt(60)).toArray();
      int length = 2 + random.nextInt(20);
      int stride = 1 + random.nextInt(length);
      int seen = 0;
      List<Chunk> windows = TextChunks.windows(tokens, length, stride);
      for (int i = 0; i < windows.size(); i++) {
        Chunk window = windows.get(i);
        int start = i * stride;
        assertArrayEquals(
            Arrays.copyOfRange(tokens, start, start + Math.min(length, tokens.length)),
            window.ids());
        int first = start + window.firstScored();
        // Without overlap nothing stands before the first token of a window.
        assertEquals(i == 0 || stride == length ? start + 1 : seen, first);
        seen = start + window.length();
      }
      assertTrue(tokens.length - seen < stride || windows.size() == 1);
    }
  }

  private static void assertUsageError(String named, int[] prefix, int maxLength, int stride) {
    UsageException error =
        assertThrows(
            UsageException.class, () -> TextChunks.cut(new int[] {1}, prefix, maxLength, stride));
    assertTrue(error.getMessage().contains(named), error.getMessage());
  }
}
