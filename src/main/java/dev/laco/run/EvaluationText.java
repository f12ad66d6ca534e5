package dev.laco.run;

import dev.laco.BadInputException;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.eval.FidelityMeasure;
import dev.laco.eval.PerplexityMeasure;
import dev.laco.report.Fidelity;
import dev.laco.report.Perplexity;
import dev.laco.text.BuiltInText;
import dev.laco.text.FitText;
import dev.laco.text.TextChunks;
import dev.laco.text.TextChunks.Chunk;
import dev.laco.text.TextFile;
import dev.laco.text.TextOverlap;
import dev.laco.text.TokenLists;
import dev.laco.text.Tokenizer;
import dev.laco.transformer.CausalLm;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;

/**
 * What perplexity is measured on.
 *
 * @param name where it came from, for people
 * @param chunks what the model runs
 */
public record EvaluationText(String name, List<Chunk> chunks) {
  private static final int DEFAULT_MAX_LENGTH = 2048;

  /** What two texts have in common by chance, a proverb or a licence, is less. */
  private static final double WARN_SHARE = 0.01;

  /** Token-id lists of a file, each scored on its own. */
  public static EvaluationText tokens(Path file, Model model) {
    return new EvaluationText(
        fileName(file), TextChunks.whole(TokenLists.read(file, model.config().vocabSize())));
  }

  /**
   * A text, which is cut into chunks.
   *
   * @param file null for the model's own {@code evaluation.txt} if it has one, else the built-in
   *     text
   * @param maxLength tokens of a chunk, null for the default
   * @param stride tokens from one chunk to the next, null for the chunk's length
   */
  public static EvaluationText text(
      @Nullable Path file, Model model, @Nullable Integer maxLength, @Nullable Integer stride) {
    Path text = file != null ? file : model.ownFile("evaluation.txt");
    return text != null
        ? ofText(fileName(text), text.toString(), TextFile.read(text), model, maxLength, stride)
        : ofText(
            "built-in",
            "built-in evaluation text",
            BuiltInText.evaluation(),
            model,
            maxLength,
            stride);
  }

  /**
   * What a user should know of the numbers that are measured on it, a sentence each.
   *
   * @param fitText what weights are fitted on; null where they are not
   */
  public List<String> warnings(Model model, @Nullable FitText fitText) {
    List<String> warnings = new ArrayList<>();
    int positions = model.config().maxPositionEmbeddings();
    int longest = chunks.stream().mapToInt(Chunk::length).max().orElse(0);
    // The last token is predicted, and predicts nothing.
    if (longest - 1 > positions) {
      warnings.add(
          String.format(
              Locale.ROOT,
              "%s: windows of %,d tokens go beyond the %,d positions that the model was trained for (max_position_embeddings):"
                  + " use shorter ones",
              name,
              longest,
              positions));
    }
    double known = fitText == null ? 0 : shareIn(fitText);
    if (known >= WARN_SHARE) {
      warnings.add(
          String.format(
              Locale.ROOT,
              "%s: %.0f %% of its tokens are also in the text that weights are fitted on, %s: the pruned model will look better"
                  + " than it is; measure on another text",
              name,
              100 * known,
              Objects.requireNonNull(fitText).name()));
    }
    return List.copyOf(warnings);
  }

  private double shareIn(FitText fitText) {
    return TextOverlap.share(
        fitText.chunks().stream().map(FitText.Chunk::ids).toList(),
        chunks.stream().map(Chunk::ids).toList());
  }

  /**
   * Measures a model on it.
   *
   * @param stage of the job
   * @param whose names the model
   * @throws BadInputException if its perplexity is not finite
   */
  public Perplexity measure(JobProgress job, String stage, Object whose, CausalLm lm) {
    try (JobProgress.Stage progress = job.begin(stage)) {
      return FiniteResults.require(
          whose, name, PerplexityMeasure.measure(lm, chunks, progress::update));
    }
  }

  /** Measures how near a pruned model stays to the original on it, likewise. */
  public Fidelity measure(JobProgress job, String stage, CausalLm original, CausalLm pruned) {
    try (JobProgress.Stage progress = job.begin(stage)) {
      return FidelityMeasure.measure(original, pruned, chunks, progress::update);
    }
  }

  private static EvaluationText ofText(
      String name,
      String where,
      String text,
      Model model,
      @Nullable Integer maxLength,
      @Nullable Integer stride) {
    Tokenizer tokenizer =
        model
            .tokenizer()
            .orElseThrow(
                () ->
                    new BadInputException(
                        where
                            + ": text needs a tokenizer and "
                            + model.directory()
                            + " has no tokenizer.json; give token ids, [[1, 15, 8], ...]"));
    int[] ids = tokenizer.encodeWithoutSpecial(text);
    TokenLists.requireInVocabulary(where, ids, model.config().vocabSize());
    int length =
        maxLength != null
            ? maxLength
            : Math.min(model.config().maxPositionEmbeddings(), DEFAULT_MAX_LENGTH);
    OptionalInt bos = tokenizer.bos();
    List<Chunk> chunks = TextChunks.cut(ids, bos, length, stride != null ? stride : length);
    if (chunks.isEmpty()) {
      throw new BadInputException(where + ": holds no token to score");
    }
    return new EvaluationText(name, chunks);
  }

  private static String fileName(Path file) {
    return String.valueOf(file.getFileName());
  }
}
