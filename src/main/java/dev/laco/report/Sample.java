package dev.laco.report;

import java.util.List;

/**
 * How two models continue one prompt, each with the token that is likeliest.
 *
 * @param prompt the text of the prompt
 * @param same the number of tokens at the begin of both continuations that are the same
 * @param original the texts of the original's tokens
 * @param pruned the texts of the pruned model's tokens
 */
public record Sample(String prompt, int same, List<String> original, List<String> pruned) {
  public Sample {
    original = List.copyOf(original);
    pruned = List.copyOf(pruned);
  }
}
