package dev.laco.checkpoint;

import com.fasterxml.jackson.core.JacksonException;
import com.fasterxml.jackson.core.json.JsonReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.cfg.JsonNodeFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * Reading the small files of a checkpoint, and copying any of them, with errors that name the file.
 */
public final class InputFiles {
  /** Largest JSON file that is read to the heap whole; configs have a few kilobytes. */
  private static final long MAX_JSON = 4L << 20;

  private static final JsonMapper JSON =
      JsonMapper.builder()
          // What Python writes for infinite numbers, and configs do hold some.
          .enable(JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS)
          .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
          .disable(JsonNodeFeature.STRIP_TRAILING_BIGDECIMAL_ZEROES)
          .enable(DeserializationFeature.FAIL_ON_READING_DUP_TREE_KEY)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .build();

  private InputFiles() {}

  /**
   * Reads a JSON object, numbers with all their digits.
   *
   * @throws BadInputException if the file is missing, no JSON object, or has a key twice
   */
  public static ObjectNode readJsonObject(Path path) {
    requireRegularFile(path);
    JsonNode json;
    try {
      if (Files.size(path) > MAX_JSON) {
        throw new BadInputException(
            "%s: is %d bytes long; at most %d are read as JSON"
                .formatted(path, Files.size(path), MAX_JSON));
      }
      json = JSON.readTree(Files.readAllBytes(path));
    } catch (JacksonException e) {
      throw badJson(path, e);
    } catch (NumberFormatException e) {
      throw new BadInputException(
          "%s: is not valid JSON: a number is out of range".formatted(path), e);
    } catch (IOException e) {
      throw unreadable(path, e);
    }
    if (json instanceof ObjectNode object) {
      return object;
    }
    throw new BadInputException(path + ": is not a JSON object");
  }

  /**
   * Copies bytes from one open file to another at its position, without the heap.
   *
   * @param sourcePath names the source in errors
   * @throws BadInputException if the source ends early
   * @throws IOException if the target cannot be written
   */
  public static void transfer(
      Path sourcePath, FileChannel source, long offset, long count, FileChannel target)
      throws IOException {
    long done = 0;
    while (done < count) {
      long moved = source.transferTo(offset + done, count - done, target);
      if (moved <= 0) {
        throw new BadInputException(
            "%s: ends before byte %d; it was truncated while in use"
                .formatted(sourcePath, offset + count));
      }
      done += moved;
    }
  }

  static BadInputException badJson(Path path, JacksonException e) {
    var at = e.getLocation();
    String where =
        at == null ? "" : " at line %d, column %d".formatted(at.getLineNr(), at.getColumnNr());
    String what = String.valueOf(e.getOriginalMessage()).replaceAll("\\s+", " ");
    return new BadInputException("%s: is not valid JSON%s: %s".formatted(path, where, what), e);
  }

  static FileChannel openForReading(Path path) {
    requireRegularFile(path);
    try {
      return FileChannel.open(path, StandardOpenOption.READ);
    } catch (IOException e) {
      throw unreadable(path, e);
    }
  }

  /** Refuses what is missing and what would block or mislead, such as a pipe or a folder. */
  static void requireRegularFile(Path path) {
    if (!Files.isRegularFile(path)) {
      String problem =
          Files.isSymbolicLink(path) && !Files.exists(path)
              ? "is a symbolic link to nothing; is the download complete?"
              : Files.exists(path) ? "is not a regular file" : "is missing";
      throw new BadInputException(path + ": " + problem);
    }
  }

  static BadInputException unreadable(Path path, IOException e) {
    return new BadInputException(
        "%s: cannot be read: %s"
            .formatted(path, e.getClass().getSimpleName() + " " + e.getMessage()),
        e);
  }
}
