package dev.laco.cli;

import dev.laco.prune.PruneRequest;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** How long a prune may take. */
@HelpSection.In(HelpSection.TIME)
final class TimeOptions {
  @Option(
      names = "--within",
      paramLabel = "TIME",
      description =
          "Make the best model that the whole command can make in that time: 90s, 10m, 1h30m. The"
              + " speed of the machine is measured; the search gets a fifth of the time at most, the"
              + " largest fit is taken that leaves a third to half of it, and the rest is training by"
              + " distillation. Numbers of tokens are told; the same --rule, --fit-tokens and"
              + " --heal-tokens give the same model again.")
  @Nullable TimeSpan within;

  @Option(
      names = "--effort",
      paramLabel = "fast|normal|best",
      description =
          "fast: fit at the gaps only (--rule align; drop for models that it does not hold for). normal:"
              + " fit all that stands behind a gap, too (--rule refine), then train all layers on a"
              + " quarter as many tokens by distillation from MODEL, where memory suffices and less than"
              + " 1.6 billion parameters stay in layers. best: train once over the text of --heal-text."
              + " Default: normal.")
  PruneRequest.@Nullable Effort effort;
}
