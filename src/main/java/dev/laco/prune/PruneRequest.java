package dev.laco.prune;

import dev.laco.Request;
import dev.laco.Setting;
import dev.laco.collapse.MergeRule;
import dev.laco.heal.HealSettings;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * The parameters of a prune, all that decides its result but the model and the device.
 *
 * @param goal when the model is shallow enough
 * @param search how the layers to merge are searched for
 * @param rule how layers are merged, or removed and weights of the others fitted: the label of a
 *     {@link dev.laco.collapse.MergeRule} or a {@link dev.laco.collapse.FitRule}, or {@code auto};
 *     null for {@code auto}, and for {@code replace} in the paper's loop
 * @param fit the text that weights are fitted on
 * @param texts the texts that models are scored and measured on
 * @param fromPlan the file of a plan whose layers are taken in place of a search; null for a search
 * @param effort how much time is spent where no rule is given; null for {@link Effort#NORMAL}, and
 *     where a time is given
 * @param heal how the pruned model is trained in the end; null where it is not, unless {@code
 *     within} or {@code effort} ask for it, or the request {@linkplain #leavesTrainingOpen leaves
 *     that open}
 * @param within seconds that the whole job may take: the largest fit that leaves time to train, and
 *     then as much training as there is time for; null for no limit
 */
public record PruneRequest(
    Goal goal,
    SearchSettings search,
    @Nullable String rule,
    FitSettings fit,
    TextSettings texts,
    @Nullable Path fromPlan,
    @Nullable Effort effort,
    @Nullable HealSettings heal,
    @Nullable Double within)
    implements Request {
  /** How much time is spent on a model. */
  public enum Effort {
    /** The most exact fit whose time does not depend on how many layers stand behind a gap. */
    FAST,
    /**
     * The rule that does most of those that hold for the model, and then a short training where all
     * of it stays in memory.
     */
    NORMAL,
    /** Likewise, and then a training on all of the text. */
    BEST;

    /** The name in requests and on the command line. */
    @Override
    public String toString() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  public PruneRequest {
    goal = Objects.requireNonNullElse(goal, Goal.QUARTER);
    search = Objects.requireNonNullElse(search, SearchSettings.DEFAULT);
    fit = Objects.requireNonNullElse(fit, FitSettings.DEFAULT);
    texts = Objects.requireNonNullElse(texts, TextSettings.DEFAULT);
    Objects.requireNonNullElse(heal, HealSettings.DEFAULT).requireGoesWith(within);
    if (effort != null && within != null) {
      throw Setting.of("effort")
          .refuse(
              effort,
              " and " + Setting.of("within") + " exclude each other: ",
              "leave one of them out");
    }
    if ((effort == Effort.FAST || effort == Effort.NORMAL)
        && rule != null
        && !rule.equals(MergeRule.AUTO)) {
      throw Setting.of("effort")
          .refuse(effort, " chooses the rule: ", "leave " + Setting.of("rule") + " out");
    }
    if (effort == Effort.BEST && heal != null && heal.tokens() != null) {
      throw Setting.of("effort")
          .refuse(
              effort, " trains on all of the text: ", "leave " + Setting.of("healTokens") + " out");
    }
  }

  /** How the pruned model is trained in the end; null where no training was asked for. */
  public @Nullable HealSettings healing() {
    return heal == null && (within != null || effort == Effort.BEST) ? HealSettings.DEFAULT : heal;
  }

  /**
   * Whether rule, time and training are left to the engine, which then trains the fitted model
   * shortly where that is worth its time.
   */
  public boolean leavesTrainingOpen() {
    return heal == null && leavesLengthOpen();
  }

  /**
   * Whether the length of a training is left to the engine, with rule, time, and layers and text of
   * the training: how the model is trained may be given.
   */
  boolean leavesLengthOpen() {
    return (rule == null || rule.equals(MergeRule.AUTO))
        && (effort == null || effort == Effort.NORMAL)
        && within == null
        && (heal == null || heal.leavesLengthOpen());
  }

  /** A prune to a goal, with defaults for all else. */
  public static PruneRequest of(Goal goal) {
    return new PruneRequest(
        goal,
        SearchSettings.DEFAULT,
        null,
        FitSettings.DEFAULT,
        TextSettings.DEFAULT,
        null,
        null,
        null,
        null);
  }

  /** The same with other settings of the search. */
  public PruneRequest withSearch(SearchSettings other) {
    return new PruneRequest(goal, other, rule, fit, texts, fromPlan, effort, heal, within);
  }

  /** The same with another rule. */
  public PruneRequest withRule(@Nullable String other) {
    return new PruneRequest(goal, search, other, fit, texts, fromPlan, effort, heal, within);
  }

  /** The same with another text to fit on. */
  public PruneRequest withFit(FitSettings other) {
    return new PruneRequest(goal, search, rule, other, texts, fromPlan, effort, heal, within);
  }

  /** The same with other texts to score and measure on. */
  public PruneRequest withTexts(TextSettings other) {
    return new PruneRequest(goal, search, rule, fit, other, fromPlan, effort, heal, within);
  }

  /** The same with the layers of a plan, or, where null, with those of a search. */
  public PruneRequest withFromPlan(@Nullable Path plan) {
    return new PruneRequest(goal, search, rule, fit, texts, plan, effort, heal, within);
  }

  /** The same with another effort. */
  public PruneRequest withEffort(@Nullable Effort other) {
    return new PruneRequest(goal, search, rule, fit, texts, fromPlan, other, heal, within);
  }

  /** The same with a training in the end, or, where null, without. */
  public PruneRequest withHeal(@Nullable HealSettings other) {
    return new PruneRequest(goal, search, rule, fit, texts, fromPlan, effort, other, within);
  }

  /** The same within a time, in seconds; null for no limit. */
  public PruneRequest withWithin(@Nullable Double seconds) {
    return new PruneRequest(goal, search, rule, fit, texts, fromPlan, effort, heal, seconds);
  }
}
