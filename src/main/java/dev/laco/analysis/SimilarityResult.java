package dev.laco.analysis;

import java.nio.file.Path;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;
import org.jspecify.annotations.Nullable;

/**
 * How alike the layers of a model are, and what their removal costs.
 *
 * @param model the model's folder
 * @param layers number of layers
 * @param text names the calibration text for people; null where none was read
 * @param parameters how alike matrices of layers are, by role, such as {@code query}; under {@link
 *     #ALL} all of them together; empty where that was not asked for
 * @param states what the hidden states say; null where that was not asked for
 * @param removals what removals cost; null where that was not asked for
 * @param warnings what a user was warned of
 */
public record SimilarityResult(
    Path model,
    int layers,
    @Nullable String text,
    SequencedMap<String, Parameters> parameters,
    @Nullable States states,
    @Nullable Removals removals,
    List<String> warnings) {
  /** The key of all matrices together. */
  public static final String ALL = "all";

  /** A result with copies of its lists. */
  public SimilarityResult {
    parameters = new LinkedHashMap<>(parameters);
    warnings = List.copyOf(warnings);
  }

  /**
   * How alike the matrices of one role are, a row and a column for each layer.
   *
   * @param cosine cosine of two matrices, each as one vector
   * @param distance {@code |A - B| / sqrt((|A|^2 + |B|^2) / 2)}: 0 for equal matrices, the root of
   *     2 for orthogonal ones of one length
   */
  public record Parameters(LayerMatrix cosine, LayerMatrix distance) {}

  /**
   * What the hidden states between layers say. State {@code j} is the input of layer {@code j}, the
   * last state the output of the last layer, before the final norm. Matrices have a row and a
   * column for each state.
   *
   * @param tokens tokens of the text
   * @param cosine cosine of two states at the same token, mean over tokens
   * @param flattened cosine of two states, all tokens of a sequence as one vector, mean over
   *     sequences
   * @param angular angular distance of two states at the last token of a sequence, in half turns,
   *     mean over sequences (Gromov et al., arXiv 2403.17887); that of states {@code i} and {@code
   *     j} is the distance of layers {@code i} to {@code j - 1} as one block
   * @param cka linear centred kernel alignment, unbiased; NaN where no sequences have four tokens
   * @param norms length of a state at a token, mean over tokens
   * @param updates what each layer adds
   */
  public record States(
      int tokens,
      LayerMatrix cosine,
      LayerMatrix flattened,
      LayerMatrix angular,
      LayerMatrix cka,
      List<Double> norms,
      List<Update> updates) {
    /** States with copies of their lists. */
    public States {
      norms = List.copyOf(norms);
      updates = List.copyOf(updates);
    }
  }

  /**
   * What a layer adds to the residual stream; means over tokens.
   *
   * @param blockInfluence one minus the cosine of input and output (ShortGPT, arXiv 2403.03853)
   * @param attention length of what attention adds, relative to the length of the input
   * @param feedForward likewise what the feed-forward part adds
   * @param attentionShare length of what attention adds, relative to the sum of both lengths
   */
  public record Update(
      double blockInfluence, double attention, double feedForward, double attentionShare) {}

  /**
   * What removals cost.
   *
   * @param nll mean negative log-likelihood of the next token under the original, nats
   * @param spans what was removed, by first layer and then by length
   */
  public record Removals(double nll, List<Span> spans) {
    /** Removals with a copy of their list. */
    public Removals {
      spans = List.copyOf(spans);
    }

    /** The most perplexity that the layers of {@link #cheapest} cost together: a tenth. */
    private static final double TENTH = Math.log(1.1);

    /** The span of a length that costs least nll; empty where none was measured. */
    public Optional<Span> best(int layers) {
      return spans.stream()
          .filter(span -> span.layers == layers && Double.isFinite(span.nll))
          .min(Comparator.comparingDouble(Span::nll));
    }

    /**
     * The layers whose single removals cost least nll, as many as cost together a tenth of the
     * perplexity, at least one and at most half of them, ascending by cost. What they cost when all
     * are removed is more than the sum.
     */
    public List<Span> cheapest() {
      List<Span> singles =
          spans.stream()
              .filter(span -> span.layers == 1 && Double.isFinite(span.nll))
              .sorted(Comparator.comparingDouble(Span::nll))
              .toList();
      double sum = 0;
      int count = 0;
      while (count < singles.size() / 2) {
        sum += Math.max(0, singles.get(count).nll - nll);
        if (count > 0 && sum > TENTH) {
          break;
        }
        count++;
      }
      return singles.subList(0, Math.min(Math.max(1, count), singles.size()));
    }
  }

  /**
   * The model without some consecutive layers; values that overflowed are NaN.
   *
   * @param first the first of them
   * @param layers their number
   * @param nll mean negative log-likelihood of the next token, nats
   * @param kl mean of {@code KL(original || pruned)}, nats
   * @param similarity cosine of the last hidden states with those of the original, mean over
   *     sequences
   */
  public record Span(int first, int layers, double nll, double kl, double similarity) {
    /** The last of the removed layers. */
    public int last() {
      return first + layers - 1;
    }
  }
}
