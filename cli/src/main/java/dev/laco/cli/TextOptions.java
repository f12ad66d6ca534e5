package dev.laco.cli;

import dev.laco.prune.TextSettings;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Option;

/** What similarity is measured on, and what perplexity. */
@HelpSection.In(HelpSection.MEASURE)
final class TextOptions {
  @Option(
      names = "--calibration",
      paramLabel = "FILE",
      description =
          ".txt (a sample a line), .jsonl (text or chats) or .json (token-id lists). Default: the model's calibration.txt, else ten built-in sentences.")
  @Nullable Path calibration;

  @ArgGroup @Nullable EvaluationSource evaluation;

  /** What perplexity is measured on. */
  @HelpSection.In(HelpSection.MEASURE)
  static final class EvaluationSource {
    @Option(
        names = "--eval-text",
        paramLabel = "FILE",
        description =
            "Measure perplexity on this text. Default: the model's evaluation.txt, else a built-in text.")
    @Nullable Path text;

    @Option(
        names = "--eval-tokens",
        paramLabel = "FILE.json",
        description = "Measure perplexity on these token-id lists.")
    @Nullable Path tokens;
  }

  TextSettings settings() {
    return evaluation == null
        ? new TextSettings(calibration, null, null)
        : new TextSettings(calibration, evaluation.text, evaluation.tokens);
  }
}
