package dev.laco.compare;

import com.fasterxml.jackson.annotation.JsonCreator;
import com.fasterxml.jackson.annotation.JsonValue;
import dev.laco.Refusal;
import dev.laco.UsageException;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.MergeRule;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * A way to a shallower model (docs/method.md): how its layers are found, and what is fitted
 * afterwards.
 *
 * @param layers how its layers are found
 * @param fit how weights are fitted afterwards; null where no weights are fitted
 */
public record Strategy(Layers layers, @Nullable FitRule fit) {
  /** How the layers of a shallower model are found. */
  public sealed interface Layers {}

  /** By this engine's search, as a prune runs it by default. */
  public record Search() implements Layers {}

  /**
   * By the loop of the LaCo paper, with the threshold that leads to the size.
   *
   * @param rule how layers are merged
   */
  public record PaperLoop(MergeRule rule) implements Layers {}

  /** By a method of other people. */
  public enum Peer implements Layers {
    /** The layers of the lowest Block Influence are removed (arXiv 2403.03853). */
    SHORTGPT,
    /** The block with the least angle between input and output is removed (arXiv 2403.17887). */
    ANGULAR,
    /**
     * One layer at a time is removed, the one without which the text is most likely (arXiv
     * 2402.09025).
     */
    SLEB,
    /** Spans of similar layers, called windows, are merged (arXiv 2502.19159). */
    SLIDING_WINDOW,
    /** The layers before the last one are removed (arXiv 2403.17887). */
    LAST
  }

  private static final String OWN = "laco";
  private static final String PAPER = "paper-";

  /**
   * The default of a prune without the training behind it, since methods of other people train
   * nothing: its search, and the fit that leaves the best model.
   */
  public static final Strategy DEFAULT = searched(FitRule.REFINE);

  /**
   * This engine's search.
   *
   * @param fit how weights are fitted afterwards; null for the merged model as it is
   */
  public static Strategy searched(@Nullable FitRule fit) {
    return new Strategy(new Search(), fit);
  }

  /** The paper's loop with a rule. */
  public static Strategy paper(MergeRule rule) {
    return new Strategy(new PaperLoop(rule), null);
  }

  /** A method of other people. */
  public static Strategy of(Peer peer) {
    return new Strategy(peer, null);
  }

  /** The strategies that have a name: this engine's first, the longest fit before the others. */
  public static List<Strategy> presets() {
    return Stream.of(
            FitRule.presets().reversed().stream().map(Strategy::searched),
            Stream.of(searched(null), paper(MergeRule.REPLACE), paper(MergeRule.rdsc(1))),
            Stream.of(Peer.values()).map(Strategy::of))
        .flatMap(strategies -> strategies)
        .toList();
  }

  /** The default of a comparison: {@link #DEFAULT}, and the methods of other people. */
  public static List<Strategy> usual() {
    return presets().stream()
        .filter(strategy -> strategy.equals(DEFAULT) || !strategy.isSearched())
        .toList();
  }

  /**
   * The preset of a name, whatever its case.
   *
   * @throws UsageException that names all presets
   */
  @JsonCreator(mode = JsonCreator.Mode.DELEGATING)
  public static Strategy named(String label) {
    return presets().stream()
        .filter(strategy -> strategy.label().equalsIgnoreCase(label))
        .findFirst()
        .orElseThrow(
            () ->
                new UsageException(
                    "expected " + oneOfPresets() + " but was '" + label + "'",
                    new Refusal("strategies", label, oneOfPresets(), null)));
  }

  private static String oneOfPresets() {
    return "one of ["
        + String.join(", ", presets().stream().map(Strategy::label).toList())
        + "] (case-insensitive)";
  }

  /** The name: {@code laco}, {@code laco-align}, {@code laco-merge}, {@code paper-rdsc}. */
  @JsonValue
  public String label() {
    return switch (layers) {
      case Search _ -> equals(DEFAULT) ? OWN : OWN + "-" + (fit == null ? "merge" : fit.label());
      case PaperLoop loop -> PAPER + loop.rule.label() + fitted();
      case Peer peer -> peer.name().toLowerCase(Locale.ROOT).replace('_', '-') + fitted();
    };
  }

  private String fitted() {
    return fit == null ? "" : "-" + fit.label();
  }

  /** Whether this engine's search finds the layers. */
  public boolean isSearched() {
    return layers instanceof Search;
  }
}
