package dev.laco.cli;

import dev.laco.BadInputException;
import dev.laco.ResourceException;
import dev.laco.UsageException;
import dev.laco.backend.Backend;
import dev.laco.fit.CarryOver;
import dev.laco.model.ModelConfig;
import dev.laco.text.FitText;
import java.nio.file.Path;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** On what weights are fitted. */
@HelpSection.In(HelpSection.FIT)
final class FitOptions {
  /** A fit has as many unknowns for every output as there are channels: so many tokens for each. */
  private static final int TOKENS_PER_CHANNEL = 96;

  private static final int LEAST_TOKENS = 16_384;
  private static final int MOST_TOKENS = 131_072;

  @Option(
      names = "--fit-text",
      paramLabel = "FILE",
      description =
          "What fitting rules fit on: .txt (documents separated by lines of ---), .jsonl (with text) or .json (token-id"
              + " lists). Default: the model's fit.txt, else a built-in text.")
  @Nullable Path text;

  @Option(
      names = "--fit-tokens",
      paramLabel = "N",
      description =
          "Tokens of it to use. Default: 96 for each feed-forward channel, 16384 to 131072.")
  @Nullable Integer tokens;

  /**
   * The text for a model, cut to length.
   *
   * @throws BadInputException if it cannot be used with the model
   */
  FitText text(OpenModel model) {
    if (tokens != null && tokens < 2) {
      throw new UsageException("--fit-tokens " + tokens + ": expected at least 2");
    }
    FitText limited =
        model.fitText(text).limit(tokens != null ? tokens : defaultTokens(model.config()));
    if (limited.windows().size() < 2) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: %d tokens in one window; a fit needs two, one to choose on: more text, or a larger --fit-tokens",
              limited.name(),
              limited.tokens()));
    }
    if (CarryOver.heldOut(limited.windows()).stream().allMatch(window -> window.length() < 2)) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: no window that is held out has a second token to predict: more text, or another --fit-tokens",
              limited.name()));
    }
    return limited;
  }

  /** The same, or null where there is none: it is not named, and the model has no tokenizer. */
  @Nullable FitText textOrNull(OpenModel model) {
    return text != null || model.tokenizer().isPresent() ? text(model) : null;
  }

  /**
   * Checks that there is something that solves a fit: better known before a search than after it.
   *
   * @throws ResourceException that says what is missing and what helps
   */
  static void requireSolver(Backend backend) {
    try {
      backend.solver();
    } catch (ResourceException e) {
      throw new ResourceException(
          e.getMessage() + "; without it no rule can be used that fits: prune with --rule drop", e);
    }
  }

  private static int defaultTokens(ModelConfig config) {
    long wanted = (long) TOKENS_PER_CHANNEL * config.intermediateSize();
    return Math.clamp(wanted, LEAST_TOKENS, MOST_TOKENS);
  }
}
