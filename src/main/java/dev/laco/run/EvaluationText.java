package dev.laco.run;

import dev.laco.BadInputException;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.measure.FidelityMeasure;
import dev.laco.measure.PerplexityMeasure;
import dev.laco.report.Perplexity;
import dev.laco.text.BuiltInText;
import dev.laco.text.FitText;
import dev.laco.text.InputText;
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
import org.jspecify.annotations.Nullable;

/**
 * The text on which perplexity is measured.
 *
 * @param name where the text comes from, for people: a file name or {@code built-in}
 * @param chunks the chunks that the model runs, at least one
 */
public record EvaluationText(String name, List<Chunk> chunks) {
  /** What the built-in text is called. */
  public static final String BUILT_IN = "built-in";

  /** What errors call it. */
  public static final String WHERE_BUILT_IN = "built-in evaluation text";

  private static final int DEFAULT_MAX_LENGTH = 2048;

  /**
   * The share of common runs of tokens from which on a user is warned. Texts that share a proverb
   * or a licence by chance stay below it.
   */
  private static final double WARN_SHARE = 0.01;

  /** Token-id lists of a {@code .json} file; each list is one chunk. */
  public static EvaluationText tokens(Path file, Model model) {
    return new EvaluationText(
        fileName(file), TextChunks.whole(TokenLists.read(file, model.config().vocabSize())));
  }

  /**
   * A text, which is cut into chunks.
   *
   * @param file null for the model's own {@code evaluation.txt} if it has one, else the built-in
   *     text
   * @param maxLength tokens of a chunk; null for the model's positions, at most 2048
   * @param stride tokens from the begin of one chunk to the begin of the next; null for the length
   *     of a chunk
   * @throws BadInputException if the text cannot be used with the model
   * @throws dev.laco.UsageException if {@code maxLength} or {@code stride} is out of range
   */
  public static EvaluationText text(
      @Nullable Path file, Model model, @Nullable Integer maxLength, @Nullable Integer stride) {
    Path text = file != null ? file : model.ownFile("evaluation.txt");
    return text != null
        ? ofText(fileName(text), text.toString(), TextFile.read(text), model, maxLength, stride)
        : ofText(BUILT_IN, WHERE_BUILT_IN, BuiltInText.evaluation(), model, maxLength, stride);
  }

  /**
   * What a user should know of numbers that are measured on this text, a sentence each: that chunks
   * are longer than the model's positions, or that the text shares runs of tokens with one that
   * weights are made from.
   *
   * @param learnt the texts on which weights are fitted or trained
   */
  public List<String> warnings(Model model, List<FitText> learnt) {
    List<String> warnings = new ArrayList<>();
    int positions = model.config().maxPositionEmbeddings();
    int longest = chunks.stream().mapToInt(Chunk::length).max().orElse(0);
    // The last token of a chunk is predicted and predicts nothing: it needs no position.
    if (longest - 1 > positions) {
      warnings.add(
          String.format(
              Locale.ROOT,
              "%s: windows of %,d tokens go beyond the %,d positions that the model was trained for"
                  + " (max_position_embeddings): use shorter ones",
              name,
              longest,
              positions));
    }
    for (FitText text : learnt) {
      double known = shareIn(text);
      if (known >= WARN_SHARE) {
        warnings.add(
            String.format(
                Locale.ROOT,
                "%s: %.0f %% of its tokens are also in the text that weights are made from, %s: the"
                    + " pruned model will look better than it is; measure on another text",
                name,
                100 * known,
                text.name()));
      }
    }
    return List.copyOf(warnings);
  }

  private double shareIn(FitText fitText) {
    return TextOverlap.share(
        fitText.chunks().stream().map(FitText.Chunk::ids).toList(),
        chunks.stream().map(Chunk::ids).toList());
  }

  /**
   * Measures the perplexity of a model on this text.
   *
   * @param stage the name of the stage, as {@code job} shows it
   * @param whose names the model in errors
   * @throws BadInputException if the perplexity is not finite
   */
  public Perplexity measure(JobProgress job, String stage, Object whose, CausalLm lm) {
    try (JobProgress.Stage progress = job.begin(stage)) {
      return FiniteResults.require(
          whose, name, PerplexityMeasure.measure(lm, chunks, progress::update));
    }
  }

  /**
   * What measures pruned models against an original on this text.
   *
   * @param several as for {@link FidelityMeasure}
   */
  public FidelityMeasure against(CausalLm original, boolean several) {
    return new FidelityMeasure(original, chunks, several);
  }

  /**
   * Measures the perplexity of the original of {@link #against}, as a stage of {@code job}.
   *
   * @param whose names the original in errors
   * @throws BadInputException if the perplexity is not finite
   */
  public Perplexity measure(JobProgress job, String stage, Object whose, FidelityMeasure measure) {
    try (JobProgress.Stage progress = job.begin(stage)) {
      return FiniteResults.require(whose, name, measure.original(progress::update));
    }
  }

  /** Measures a pruned model as {@link #against} says, as a stage of {@code job}. */
  public FidelityMeasure.Both measure(
      JobProgress job, String stage, FidelityMeasure measure, CausalLm pruned) {
    try (JobProgress.Stage progress = job.begin(stage)) {
      return measure.measure(pruned, progress::update);
    }
  }

  private static EvaluationText ofText(
      String name,
      String where,
      String text,
      Model model,
      @Nullable Integer maxLength,
      @Nullable Integer stride) {
    List<Chunk> chunks = chunks(where, InputText.of(text), model, maxLength, stride);
    if (chunks.isEmpty()) {
      throw new BadInputException(where + ": holds no token to score");
    }
    return new EvaluationText(name, chunks);
  }

  /**
   * The chunks of a text; none where it has no token to score.
   *
   * @param where names the text in errors
   * @param maxLength as for {@link #text}; {@code stride} likewise
   * @throws BadInputException if the text cannot be used with the model
   * @throws dev.laco.UsageException if {@code maxLength} or {@code stride} is out of range
   */
  public static List<Chunk> chunks(
      String where,
      InputText text,
      Model model,
      @Nullable Integer maxLength,
      @Nullable Integer stride) {
    Tokenizer tokenizer = tokenizer(where, model);
    int[] ids = tokenizer.encodeWithoutSpecial(text);
    TokenLists.requireInVocabulary(where, ids, model.config().vocabSize());
    int length =
        maxLength != null
            ? maxLength
            : Math.min(model.config().maxPositionEmbeddings(), DEFAULT_MAX_LENGTH);
    return TextChunks.cut(ids, tokenizer.prefix(), length, stride != null ? stride : length);
  }

  /**
   * The tokenizer of a model.
   *
   * @param where names the text that needs it
   * @throws BadInputException if the model has none
   */
  public static Tokenizer tokenizer(String where, Model model) {
    return model
        .tokenizer()
        .orElseThrow(
            () ->
                new BadInputException(
                    where
                        + ": text needs a tokenizer and "
                        + model.directory()
                        + " has "
                        + model.missingTokenizer()
                        + "; give token ids, [[1, 15, 8], ...]"));
  }

  private static String fileName(Path file) {
    return String.valueOf(file.getFileName());
  }
}
