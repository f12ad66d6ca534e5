package dev.laco.evaluate;

import dev.laco.report.Perplexity;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * What a pruned model lost against the dense one at predicting a text.
 *
 * @param pruned the pruned model's folder
 * @param perplexity its perplexity on the same tokens
 * @param parts perplexity by parts of the text
 * @param ratio of the perplexities, {@code pruned / dense}
 * @param interval the percentile interval of the ratio by a bootstrap of the parts of the text;
 *     null of a text of one part
 */
public record TextComparison(
    Path pruned, Perplexity perplexity, Metric parts, double ratio, @Nullable Interval interval) {
  /** Compares two results on the same parts of a text. */
  static TextComparison of(Metric dense, Metric pruned, Path model, Perplexity perplexity) {
    return new TextComparison(
        model,
        perplexity,
        pruned,
        pruned.value() / dense.value(),
        dense.count() < 2 ? null : PairedComparison.bootstrap(dense, pruned));
  }
}
