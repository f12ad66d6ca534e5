package dev.laco.run;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.laco.BadInputException;
import dev.laco.Model;
import dev.laco.Passages;
import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.checkpoint.Sha256;
import dev.laco.fit.CarryOver;
import dev.laco.fit.HeldOutChoice;
import dev.laco.model.Mixture;
import dev.laco.model.ModelConfig;
import dev.laco.text.CalibrationSet;
import dev.laco.text.ClozeSet;
import dev.laco.text.FitText;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * The texts of a job as the token ids of its model. Where a job names no text, the text is the
 * model's own file, or the text that comes with the engine if the model has none.
 */
public final class JobTexts {
  /**
   * The default number of tokens of a fit for each feed-forward channel: a fit has one unknown per
   * channel for every output.
   */
  private static final int TOKENS_PER_CHANNEL = 96;

  private static final int LEAST_TOKENS = 16_384;
  private static final int MOST_TOKENS = 131_072;

  private JobTexts() {}

  private static CalibrationSet.Target target(Model model) {
    return new CalibrationSet.Target(
        model.tokenizer(),
        model.missingTokenizer(),
        model.config().vocabSize(),
        model.config().maxPositionEmbeddings());
  }

  /** What a user should know where a fit by default is left out for want of a text. */
  public static String noFit(Model model) {
    return "weights are not fitted: the model has "
        + model.missingTokenizer()
        + "; give "
        + Setting.of("fitText")
        + " FILE.json with token ids";
  }

  /**
   * The text on which candidates are compared with the original.
   *
   * @param file null for the model's own {@code calibration.txt} if it has one, else the built-in
   *     sentences
   * @throws BadInputException if the text cannot be used with this model
   */
  public static CalibrationSet calibration(Model model, @Nullable Path file) {
    Path text = file != null ? file : model.ownFile("calibration.txt");
    return text != null
        ? CalibrationSet.read(text, target(model))
        : CalibrationSet.builtIn(target(model));
  }

  /**
   * The text on which weights are fitted.
   *
   * @param source as of {@link #fitSource}
   * @param tokens the number of tokens that are used; null for a number that suits the model
   * @throws BadInputException if the text cannot be used with this model, or is too short
   */
  public static FitText fit(FitText source, Model model, @Nullable Integer tokens) {
    FitText limited = source.limit(tokens != null ? tokens : defaultTokens(model.config()));
    if (limited.chunks().size() < 2) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: %d tokens in one window; a fit needs two, one to choose on: more text, or a larger %s",
              limited.name(),
              limited.tokens(),
              Setting.of("fitTokens")));
    }
    requirePredicted(limited, CarryOver.heldOut(limited.chunks()), " that is held out");
    return limited;
  }

  /**
   * All of the text from which the tokens of a fit, and of a training that names no other, are
   * taken.
   *
   * @param file null for the model's own {@code fit.txt} if it has one, else the built-in text
   * @throws BadInputException if the text cannot be used with this model
   */
  public static FitText fitSource(Model model, @Nullable Path file) {
    Path named = file != null ? file : model.ownFile("fit.txt");
    return named != null ? FitText.read(named, target(model)) : FitText.builtIn(target(model));
  }

  /** The same text; null where no text is named and the model has no tokenizer. */
  public static @Nullable FitText fitSourceOrNull(Model model, @Nullable Path file) {
    return file != null || model.tokenizer().isPresent() ? fitSource(model, file) : null;
  }

  /**
   * The text on which weights are fitted before a training: all but the documents on which the
   * training is measured.
   *
   * @param source of the fit, as of {@link #fitSource}
   * @param training the text of the training
   * @throws BadInputException if too little is left
   */
  public static FitText fitBeside(FitText source, FitText training) {
    FitText rest = source.without(heldOut(training));
    if (rest.chunks().size() < 2) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: %d tokens in %d windows beside those that the training is measured on;"
                  + " a fit needs two: more text",
              rest.name(),
              rest.tokens(),
              rest.chunks().size()));
    }
    return rest;
  }

  private static void requirePredicted(FitText text, List<FitText.Chunk> chunks, String which) {
    if (chunks.stream().allMatch(chunk -> chunk.length() < 2)) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: no window%s has a second token to predict: more text, or another %s",
              text.name(),
              which,
              Setting.of("fitTokens")));
    }
  }

  /**
   * The text on which a pruned model is trained.
   *
   * @param files none for the model's own {@code fit.txt} if it has one, else the built-in text
   * @throws BadInputException if a text cannot be used with the model, or all are too short
   */
  public static FitText heal(Model model, List<Path> files) {
    return trainable(files.isEmpty() ? fitSource(model, null) : FitText.read(files, target(model)));
  }

  /**
   * A text that a model is trained on and measured on.
   *
   * @throws BadInputException if it is too short for both
   */
  public static FitText trainable(FitText text) {
    if (text.chunks().size() < 2) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: %d tokens in one window; training needs two, one to measure on: more text",
              text.name(),
              text.tokens()));
    }
    return text;
  }

  /** The chunks of a text that are held out of a training: those of every eighth document. */
  public static List<FitText.Chunk> heldOut(FitText text) {
    return CarryOver.heldOut(text.chunks());
  }

  /**
   * The text on which models are compared of which none is fitted: the beginning of the text of a
   * fit, in its order of chunks. Null where no text is named and the model has no tokenizer.
   *
   * @param file as of {@link #fit}
   * @param tokens the number of tokens that are used; null for {@link HeldOutChoice#TOKENS}
   * @throws BadInputException if the text cannot be used with this model, or is too short
   */
  public static @Nullable FitText choiceOrNull(
      Model model, @Nullable Path file, @Nullable Integer tokens) {
    return file == null && tokens == null && model.tokenizer().isEmpty()
        ? null
        : choice(fitSource(model, file), tokens);
  }

  /** The same of a text that was read, as of {@link #fitSource}. */
  public static FitText choice(FitText source, @Nullable Integer tokens) {
    FitText text = source.limit(tokens != null ? tokens : HeldOutChoice.TOKENS);
    requirePredicted(text, text.chunks(), "");
    return text;
  }

  /**
   * A hash of several texts as token ids.
   *
   * @param texts null for one that there is not
   */
  public static String digest(CalibrationSet calibration, List<@Nullable FitText> texts) {
    Sha256 hash = new Sha256();
    calibration.sequences().forEach(ids -> hash.update(Arrays.toString(ids).getBytes(UTF_8)));
    for (FitText text : texts) {
      hash.update((text == null ? "none" : digest(text)).getBytes(UTF_8));
    }
    return hash.hex();
  }

  /** A hash of a text as token ids. */
  public static String digest(FitText text) {
    Sha256 hash = new Sha256();
    for (FitText.Chunk chunk : text.chunks()) {
      hash.update((Arrays.toString(chunk.ids()) + chunk.document()).getBytes(UTF_8));
    }
    return hash.hex();
  }

  /**
   * The text on which perplexity is measured; null where no text is named and the model has no
   * tokenizer.
   *
   * @param file null for the model's own {@code evaluation.txt} if it has one, else the built-in
   *     text
   * @param tokens token-id lists to measure on in place of a text; null for a text
   * @throws BadInputException if the text cannot be used with this model
   */
  public static @Nullable EvaluationText evaluation(
      Model model, @Nullable Path file, @Nullable Path tokens) {
    if (tokens != null) {
      return EvaluationText.tokens(tokens, model);
    }
    return file != null || model.tokenizer().isPresent()
        ? EvaluationText.text(file, model, null, null)
        : null;
  }

  /**
   * The text on which a job measures perplexity that cannot do without.
   *
   * @param purpose what there is nothing to do by without a text, for the error
   * @param file as of {@link #evaluation}
   * @param tokens as of {@link #evaluation}
   * @throws UsageException if no text is named and the model has no tokenizer
   * @throws BadInputException if the text cannot be used with this model
   */
  public static EvaluationText requireEvaluation(
      String purpose, Model model, @Nullable Path file, @Nullable Path tokens) {
    EvaluationText text = evaluation(model, file, tokens);
    if (text == null) {
      throw new UsageException(
          "nothing to "
              + purpose
              + ": the model has "
              + model.missingTokenizer()
              + "; give "
              + Setting.of("evalTokens")
              + " FILE.json");
    }
    return text;
  }

  /**
   * The passages whose last words a model predicts.
   *
   * @throws BadInputException if the file is wrong, or the model has no tokenizer that fits it
   */
  public static ClozeSet passages(Model model, Passages passages) {
    return passages.file() == null
        ? ClozeSet.builtIn(target(model))
        : ClozeSet.read(passages.file(), target(model));
  }

  private static int defaultTokens(ModelConfig config) {
    Mixture mixture = config.mixture();
    // An expert is given a share of the tokens.
    long channels =
        mixture == null
            ? config.intermediateSize()
            : (long) mixture.width() * mixture.experts() / mixture.chosen();
    long wanted = TOKENS_PER_CHANNEL * channels;
    return Math.clamp(wanted, LEAST_TOKENS, MOST_TOKENS);
  }
}
