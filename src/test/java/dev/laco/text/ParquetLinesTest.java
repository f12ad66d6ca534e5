package dev.laco.text;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.CancelledException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Parquet files, most of them damaged. */
class ParquetLinesTest {
  private static final Path GOOD =
      Path.of("src/test/resources/parquet/allenai/ai2_arc/ARC-Easy/test-00000-of-00001.parquet");

  /** Damaged copies: about one in a hundred ends the process, or has to be ended. */
  private static final int COPIES = 80;

  @TempDir Path folder;

  @Test
  void rowsBecomeLinesOfJson() throws IOException {
    Path made;
    try (ParquetLines parquet = new ParquetLines(() -> {})) {
      LineFile lines = parquet.of(GOOD);
      made = lines.file();
      assertEquals(12, Files.readAllLines(made).size());
      assertEquals(
          "{\"id\":\"easy_0\",\"question\":\"Which of these the valley is the largest?\","
              + "\"choices\":{\"text\":[\"a mountain\",\"a grain of sand\",\"a hill\",\"a pebble\"],"
              + "\"label\":[\"A\",\"B\",\"C\",\"D\"]},\"answerKey\":\"A\"}",
          Files.readAllLines(made).getFirst());
      assertEquals(GOOD + ": row 7", lines.where(7));
      assertEquals(lines, parquet.of(GOOD));
    }
    assertFalse(Files.exists(made.getParent()));
  }

  @Test
  void aRowGroupMayBeLong() throws IOException {
    try (ParquetLines parquet = new ParquetLines(() -> {})) {
      Path many = Path.of("src/test/resources/parquet/many.parquet");
      List<String> lines = Files.readAllLines(parquet.of(many).file());
      assertEquals(30_000, lines.size());
      for (int row = 0; row < lines.size(); row++) {
        assertEquals("{\"number\":" + row % 7 + ",\"texts\":[\"a\",\"b\"]}", lines.get(row));
      }
    }
  }

  @Test
  void aCancelledJobReadsNoFurther() {
    try (ParquetLines parquet =
        new ParquetLines(
            () -> {
              throw new CancelledException();
            })) {
      assertThrows(CancelledException.class, () -> parquet.of(GOOD));
    }
  }

  /** Whatever the library does, a damaged file is refused by one line, or read. */
  @Test
  void damagedFilesAreRefusedOrRead() throws IOException {
    byte[] good = Files.readAllBytes(GOOD);
    Random random = new Random(7);
    int refused = 0;
    try (ParquetLines parquet = new ParquetLines(() -> {}, Duration.ofSeconds(4))) {
      for (int copy = 0; copy < COPIES; copy++) {
        byte[] bytes =
            copy % 5 == 0 ? Arrays.copyOf(good, random.nextInt(good.length)) : good.clone();
        for (int change = 0; bytes.length > 0 && change < 1 + copy % 4; change++) {
          // Half of the changes are in the table at the end.
          int from = random.nextBoolean() ? bytes.length / 2 : 0;
          bytes[from + random.nextInt(bytes.length - from)] = (byte) random.nextInt();
        }
        Path file = Files.write(folder.resolve(copy + ".parquet"), bytes);
        try {
          parquet.of(file);
        } catch (BadInputException e) {
          refused++;
          assertTrue(e.getMessage().startsWith(file + ": "), e::getMessage);
          assertEquals(1, e.getMessage().lines().count(), e::getMessage);
        }
      }
    }
    assertTrue(refused > COPIES / 2, () -> "few copies were refused");
  }
}
