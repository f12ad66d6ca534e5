package dev.laco.cli;

import dev.laco.evaluate.EvaluateResult;
import dev.laco.evaluate.Interval;
import dev.laco.evaluate.TextComparison;
import dev.laco.report.Perplexity;
import java.util.Locale;
import java.util.stream.IntStream;

/** What people see of the perplexity of a text. */
final class TextLines {
  private TextLines() {}

  static String of(EvaluateResult.OfText result) {
    StringBuilder lines = new StringBuilder();
    Perplexity dense = result.perplexity();
    lines.append(
        String.format(
            Locale.ROOT,
            "%-12s %.4f (mean NLL %.6f nats over %,d tokens of %s)%n",
            "perplexity",
            dense.perplexity(),
            dense.meanNll(),
            dense.tokens(),
            result.text()));
    addBytes(lines, result, dense);
    for (TextComparison other : result.against()) {
      Interval interval = other.interval();
      lines.append(
          String.format(
              Locale.ROOT,
              "%n%s beside the dense model, on the same tokens%n%-12s %.4f, x%.4f of the dense"
                  + " model's%s%n",
              other.pruned(),
              "perplexity",
              other.perplexity().perplexity(),
              other.ratio(),
              interval == null
                  ? ""
                  : String.format(
                      Locale.ROOT,
                      " (95 %% interval x%.4f to x%.4f, by %,d %ss)",
                      interval.low(),
                      interval.high(),
                      result.parts().count(),
                      result.part())));
      addBytes(lines, result, other.perplexity());
      if (result.parts().count() > 1) {
        lines.append(
            String.format(
                Locale.ROOT,
                "%-12s %s perplexity to dense, in the order of the text%n",
                "by " + result.part(),
                Sparkline.of(
                    IntStream.range(0, result.parts().count())
                        .mapToObj(
                            part -> other.parts().valueOf(part) / result.parts().valueOf(part))
                        .toList())));
      }
    }
    return lines.toString();
  }

  private static void addBytes(
      StringBuilder lines, EvaluateResult.OfText result, Perplexity perplexity) {
    if (result.tokensPerByte() > 0) {
      double bits = result.bitsPerByte(perplexity);
      lines.append(
          String.format(
              Locale.ROOT, "%-12s %.4f (%.4f bits)%n", "per byte", Math.pow(2, bits), bits));
    }
  }
}
