package dev.laco.text;

import dev.laco.BadInputException;
import dev.laco.text.TextChunks.Chunk;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/**
 * Passages whose last word a model is to predict, after LAMBADA (Paperno et al. 2016).
 *
 * @param name where the passages come from, for people: a file name or {@code built-in}
 * @param items at least one passage, each a chunk whose scored tokens are those of the last word
 */
public record ClozeSet(String name, List<Chunk> items) {
  public ClozeSet {
    items = List.copyOf(items);
  }

  /**
   * Reads a {@code .jsonl} file of objects like {@code {"text": "The cat sat on the", "last": "
   * mat"}}, skipping blank lines. The whole passage and the passage without its last word are
   * tokenised; the last word's tokens are those of the whole passage behind the longest common
   * beginning.
   *
   * @throws BadInputException if the file is anything else, holds nothing, does not fit vocabulary
   *     or positions, or the model has no tokenizer
   */
  public static ClozeSet read(Path file, CalibrationSet.Target target) {
    return of(String.valueOf(file.getFileName()), file.toString(), TextFile.read(file), target);
  }

  /**
   * The built-in passages.
   *
   * @throws BadInputException if the model has no tokenizer, or one that does not fit it
   */
  public static ClozeSet builtIn(CalibrationSet.Target target) {
    return of("built-in", "built-in last-word items", BuiltInText.cloze(), target);
  }

  private static ClozeSet of(
      String name, String where, String content, CalibrationSet.Target target) {
    Tokenizer tokenizer =
        target
            .tokenizer()
            .orElseThrow(
                () ->
                    new BadInputException(
                        where
                            + ": words need a tokenizer and the model has "
                            + target.missing()
                            + ": "
                            + target.missing().remedy()));
    List<Chunk> items = new ArrayList<>();
    for (JsonLines.Line line : JsonLines.read(where, content)) {
      items.add(item(line, tokenizer, target));
    }
    if (items.isEmpty()) {
      throw new BadInputException(where + ": holds no items");
    }
    return new ClozeSet(name, items);
  }

  private static Chunk item(
      JsonLines.Line line, Tokenizer tokenizer, CalibrationSet.Target target) {
    String text = line.string("text");
    int[] passage = tokenizer.encodeBehindPrefix(text + line.string("last"));
    int[] context = tokenizer.encodeBehindPrefix(text);
    TokenLists.requireInVocabulary(line.where(), passage, target.vocabularySize());
    if (passage.length > target.maxPositions()) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s has %d tokens, the model's max_position_embeddings is %d: shorten it",
              line.where(),
              passage.length,
              target.maxPositions()));
    }
    int difference = Arrays.mismatch(passage, context);
    int shared = difference < 0 ? passage.length : difference;
    if (shared < 1 || shared == passage.length) {
      throw new BadInputException(
          line.where() + ": \"text\" and \"last\" must each have tokens of their own");
    }
    return TextChunks.continuation(passage, shared);
  }
}
