package dev.laco.text;

import dev.laco.BadInputException;
import dev.laco.InputFile;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.function.Supplier;
import java.util.stream.Stream;

/** Reads text files, which must be UTF-8. */
public final class TextFile {
  /** Most bytes of a text: a text of this size and its tokens fit the Java heap. */
  static final int MAX_BYTES = 16 << 20;

  /** Most samples, documents or token lists of a file. */
  static final int MAX_SAMPLES = 100_000;

  private static final String BYTE_ORDER_MARK = "\uFEFF";

  private TextFile() {}

  /**
   * The text of a UTF-8 file without its byte order mark, if it has one.
   *
   * @throws BadInputException if the file is missing, too long, unreadable, or not UTF-8
   */
  public static String read(Path file) {
    return read(file, MAX_BYTES);
  }

  /**
   * The documents of a file: of {@code .jsonl} the string {@code text} of each line, which may be
   * empty, or the text of its chat under {@code messages}; of any other file its text.
   *
   * @param tokenizer of the model; is asked for where there is a chat
   * @throws BadInputException as {@link #read(Path)}, or if a line has no text
   */
  public static List<InputText> documents(Path file, Supplier<Tokenizer> tokenizer) {
    return file.toString().toLowerCase(Locale.ROOT).endsWith(".jsonl")
        ? JsonLines.texts(file, tokenizer, true)
        : List.of(InputText.of(read(file)));
  }

  /**
   * The rows that data sets have of a file: the {@link #documents documents}, or of WikiText as its
   * authors publish it ({@code wiki.test.raw}) each line with its end, and nothing of a blank line.
   *
   * @throws BadInputException as {@link #documents}
   */
  public static List<InputText> rows(Path file, Supplier<Tokenizer> tokenizer) {
    return String.valueOf(file.getFileName()).matches("wiki\\..*\\.raw")
        ? read(file).lines().map(line -> InputText.of(line.isBlank() ? "" : line + "\n")).toList()
        : documents(file, tokenizer);
  }

  /** As {@link #read(Path)}, for a file that may have {@code most} bytes. */
  static String read(Path file, int most) {
    byte[] bytes = InputFile.read(file, most);
    try {
      String text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
      return text.startsWith(BYTE_ORDER_MARK) ? text.substring(1) : text;
    } catch (CharacterCodingException e) {
      throw new BadInputException(file + ": not UTF-8 text, convert it to UTF-8", e);
    }
  }

  /**
   * The samples of a file that are not blank.
   *
   * @param where names the file in errors
   * @throws BadInputException if there are too many
   */
  static List<InputText> samples(String where, Stream<String> samples) {
    List<InputText> some =
        samples
            .filter(sample -> !sample.isBlank())
            .limit(MAX_SAMPLES + 1L)
            .map(InputText::of)
            .toList();
    if (some.size() > MAX_SAMPLES) {
      throw tooMany(where);
    }
    return some;
  }

  static BadInputException tooMany(String where) {
    return new BadInputException(
        String.format(Locale.ROOT, "%s: holds more than %d samples; split it", where, MAX_SAMPLES));
  }
}
