package dev.laco.cli;

import dev.laco.prune.FitSettings;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** On what weights are fitted. */
@HelpSection.In(HelpSection.FIT)
final class FitOptions {
  @Option(
      names = "--fit-text",
      paramLabel = "FILE",
      description =
          "What fitting rules fit on, and what models are chosen on that are not fitted: .txt"
              + " (documents separated by lines of ---), .jsonl (text or chats) or .json (token-id"
              + " lists). Default: the model's fit.txt, else a built-in text.")
  @Nullable Path text;

  @Option(
      names = "--fit-tokens",
      paramLabel = "N",
      description =
          "Tokens of it to use. Default: 96 for each feed-forward channel, 16384 to 131072; 4096"
              + " where nothing is fitted.")
  @Nullable Integer tokens;

  FitSettings settings() {
    return new FitSettings(text, tokens);
  }
}
