package dev.laco.cli;

import dev.laco.text.CalibrationSet;
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
          ".txt (a sample a line), .jsonl (with text) or .json (token-id lists). Default: the model's calibration.txt, else ten built-in sentences.")
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

  /** The calibration set that was named, else the model's own, else the built-in one. */
  CalibrationSet calibration(OpenModel model) {
    Path text = calibration != null ? calibration : model.ownFile("calibration.txt");
    return text != null
        ? CalibrationSet.read(text, model.target())
        : CalibrationSet.builtIn(model.target());
  }

  /** Null where there is nothing to measure on: no text was asked for and there is no tokenizer. */
  @Nullable EvaluationText evaluation(OpenModel model) {
    if (evaluation != null && evaluation.tokens != null) {
      return EvaluationText.tokens(evaluation.tokens, model);
    }
    if (evaluation != null && evaluation.text != null) {
      return EvaluationText.text(evaluation.text, model, 0, 0);
    }
    return model.tokenizer().isPresent() ? EvaluationText.ownOrBuiltIn(model, 0, 0) : null;
  }
}
