package dev.laco.cli;

import dev.laco.heal.HealSettings;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** How a pruned model is trained. */
@HelpSection.In(HelpSection.HEAL)
final class HealOptions {
  @Option(
      names = "--heal-text",
      paramLabel = "FILE",
      description =
          "What to train on: .txt (documents separated by lines of ---), .jsonl (text, or chats as messages) or"
              + " .json (token-id lists). May be given more than once: each file is held out in"
              + " part, and reported by itself. Default: that of --fit-text, else the original's"
              + " fit.txt, else a built-in text.")
  List<Path> texts = List.of();

  @Option(
      names = "--heal-samples",
      paramLabel = "N",
      description =
          "Tokens of text that the original writes itself (at temperature 1, from the begin of a"
              + " text and from first words of the text) to train on beside the text. Default: 0;"
              + " within a time those without which the text would be trained on for more than four"
              + " epochs.")
  @Nullable Long samples;

  @Option(
      names = "--heal-tokens",
      paramLabel = "N",
      description = "Tokens to train on. Default: the text once, or as many as --within allows.")
  @Nullable Long tokens;

  @Option(
      names = "--step-tokens",
      paramLabel = "N",
      description =
          "Tokens of one step of the optimizer. Default: 1024 to 16384, by size; half of that in a"
              + " training that would have at most 64 steps.")
  @Nullable Integer stepTokens;

  @Option(
      names = "--rate",
      paramLabel = "R",
      description =
          "Largest learning rate. Default: the one that a short range test on the model finds.")
  @Nullable Double rate;

  @Option(
      names = "--label-share",
      paramLabel = "S",
      description =
          "Share of the loss that is the language model's own, 0 to 1; the rest is the divergence"
              + " from the original. 0 keeps closest to the original. Default: 0.15 in the"
              + " first nine passes over the text, 0 behind them.")
  @Nullable Double labelShare;

  @Option(
      names = "--heal-layers",
      paramLabel = "behind|all",
      description =
          "behind: train the layers from the first one on that the pruning has changed; the"
              + " original's own layers in front stay and run once for both models. all: train them,"
              + " too, which takes more time and memory. Default: all, if memory suffices, within a time"
              + " and where prune trains without an option of training; else behind.")
  HealSettings.@Nullable Layers layers;

  @Option(
      names = "--seed",
      paramLabel = "N",
      description =
          "Seed of the order of the text, of what adapters begin with, and of rounding at random."
              + " Default: 0.")
  long seed;

  @Option(
      names = "--lora",
      paramLabel = "RANK",
      description =
          "Train adapters of this rank (LoRA) of every projection in place of all weights of the"
              + " layers, in a fraction of the memory. OUT has the adapters merged into its weights.")
  @Nullable Integer lora;

  @Option(
      names = "--lora-alpha",
      paramLabel = "A",
      description = "The product of two adapters is multiplied by A / RANK. Default: 2 * RANK.")
  @Nullable Double loraAlpha;

  @Option(
      names = "--optimizer",
      paramLabel = "adamw|adamw_8bit",
      description =
          "adamw: running means of gradients and their squares in f32, 8 bytes for each trained"
              + " parameter. adamw_8bit: in 8 bits, about 2 bytes, as bitsandbytes and torchao have"
              + " it. Not with --lora. Default: adamw.")
  HealSettings.Optimizer optimizer = HealSettings.DEFAULT.optimizer();

  @Option(
      names = "--masters",
      paramLabel = "f32|none",
      description =
          "f32: a copy of each weight in f32 that steps move, 4 bytes for each trained parameter."
              + " none: steps move the weights of 16 bits, which are rounded at random (stochastic"
              + " rounding, by --seed). Not with --lora. Default: f32.")
  HealSettings.Masters masters = HealSettings.DEFAULT.masters();

  HealSettings settings() {
    return new HealSettings(
        texts,
        samples,
        tokens,
        stepTokens,
        rate,
        labelShare,
        layers,
        seed,
        lora,
        loraAlpha,
        optimizer,
        masters);
  }
}
