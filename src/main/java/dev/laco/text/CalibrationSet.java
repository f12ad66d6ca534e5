package dev.laco.text;

import dev.laco.BadInputException;
import dev.laco.MissingTokenizer;
import dev.laco.Setting;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * The token sequences on which similarity is measured.
 *
 * @param name where the sequences come from, for people: a file name or {@code built-in}
 * @param sequences token ids, at least one sequence, none empty, every id in the vocabulary
 * @param warnings what a user should know, a line each: sequences longer than the model's positions
 */
public record CalibrationSet(String name, List<int[]> sequences, List<String> warnings) {
  public CalibrationSet {
    sequences = List.copyOf(sequences);
    warnings = List.copyOf(warnings);
  }

  /**
   * The properties of a model on which the reading of a text depends.
   *
   * @param tokenizer empty where the checkpoint has none; then only token ids are of use
   * @param missing what the checkpoint lacks in that case
   * @param vocabularySize rows of the embedding
   * @param maxPositions {@code max_position_embeddings}
   */
  public record Target(
      Optional<Tokenizer> tokenizer,
      MissingTokenizer missing,
      int vocabularySize,
      int maxPositions) {
    /**
     * The tokenizer, for text.
     *
     * @param where names the text, for the message
     * @param option the setting that takes token ids instead, for the message
     * @throws BadInputException if the model has none
     */
    Tokenizer requireTokenizer(String where, String option) {
      return tokenizer.orElseThrow(
          () ->
              new BadInputException(
                  where
                      + ": text needs a tokenizer and the model has "
                      + missing
                      + ": give token ids, "
                      + Setting.of(option)
                      + " FILE.json with [[1, 15, 8], ...]"));
    }
  }

  /**
   * Reads a file: {@code .txt} with a sample a line, {@code .jsonl} with an object a line whose
   * {@code text} is the sample or whose {@code messages} are a chat, {@code .json} with a list of
   * token-id lists. Blank lines are skipped. Text gets the special tokens of the model's tokenizer;
   * token ids are taken as they are.
   *
   * @throws BadInputException if the file is none of these, holds nothing, does not fit the
   *     vocabulary, or is text and the model has no tokenizer
   */
  public static CalibrationSet read(Path file, Target target) {
    String name = String.valueOf(file.getFileName());
    String lower = name.toLowerCase(Locale.ROOT);
    if (lower.endsWith(".json")) {
      return create(name, file + ": list", TokenLists.read(file, target.vocabularySize()), target);
    }
    if (lower.endsWith(".txt")) {
      return ofText(
          name,
          file.toString(),
          TextFile.samples(file.toString(), TextFile.read(file).lines()),
          target);
    }
    if (lower.endsWith(".jsonl")) {
      return ofText(
          name,
          file.toString(),
          JsonLines.texts(
              file, () -> target.requireTokenizer(file.toString(), "calibration"), false),
          target);
    }
    throw new BadInputException(
        file
            + ": expected .txt (a sample a line), .jsonl (objects with \"text\")"
            + " or .json (a list of token-id lists)");
  }

  /**
   * The built-in sentences.
   *
   * @throws BadInputException if the model has no tokenizer, or one that does not fit it
   */
  public static CalibrationSet builtIn(Target target) {
    return ofText(
        "built-in",
        "built-in calibration text",
        BuiltInText.calibrationSentences().stream().map(InputText::of).toList(),
        target);
  }

  private static CalibrationSet ofText(
      String name, String where, List<InputText> samples, Target target) {
    Tokenizer tokenizer = target.requireTokenizer(where, "calibration");
    if (samples.isEmpty()) {
      throw new BadInputException(where + ": holds no samples");
    }
    List<int[]> sequences = new ArrayList<>();
    for (InputText sample : samples) {
      int[] ids = tokenizer.encode(sample);
      String sampleName = where + ": sample " + sequences.size();
      if (ids.length == 0) {
        throw new BadInputException(sampleName + " has no tokens");
      }
      TokenLists.requireInVocabulary(sampleName, ids, target.vocabularySize());
      sequences.add(ids);
    }
    return create(name, where + ": sample", sequences, target);
  }

  private static CalibrationSet create(
      String name, String where, List<int[]> sequences, Target target) {
    List<String> warnings = new ArrayList<>();
    for (int i = 0; i < sequences.size(); i++) {
      int length = sequences.get(i).length;
      if (length > target.maxPositions()) {
        warnings.add(
            String.format(
                Locale.ROOT,
                "%s %d has %d tokens, more than the model's max_position_embeddings %d",
                where,
                i,
                length,
                target.maxPositions()));
      }
    }
    return new CalibrationSet(name, sequences, warnings);
  }

  /** Equal to a set with equal name, tokens and warnings. */
  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof CalibrationSet that
        && name.equals(that.name)
        && Arrays.deepEquals(sequences.toArray(), that.sequences.toArray())
        && warnings.equals(that.warnings);
  }

  @Override
  public int hashCode() {
    return Objects.hash(name, Arrays.deepHashCode(sequences.toArray()), warnings);
  }
}
