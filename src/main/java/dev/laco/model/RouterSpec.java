package dev.laco.model;

import org.jspecify.annotations.Nullable;

/**
 * How the logits of a router become the shares of experts.
 *
 * @param scores what the logits become first
 * @param normalised whether the scores of a token's experts are divided by their sum
 * @param factor the factor on shares
 * @param added what is added to the sum that scores are divided by
 * @param groups of which experts are chosen; null where all experts take part in the choice
 */
public record RouterSpec(
    Scores scores, boolean normalised, double factor, double added, @Nullable Groups groups) {
  /** A router that adds nothing to the sum of scores. */
  public RouterSpec(Scores scores, boolean normalised, double factor, @Nullable Groups groups) {
    this(scores, normalised, factor, 0, groups);
  }

  /** Likewise one whose experts all take part in the choice. */
  public RouterSpec(Scores scores, boolean normalised, double factor) {
    this(scores, normalised, factor, null);
  }

  /** The score of an expert by the logits of a token. */
  public enum Scores {
    /** The softmax over the logits of all experts (Shazeer et al. 2017). */
    SOFTMAX,
    /** The sigmoid of the expert's own logit (DeepSeek-V3, 2024, eq. 15). */
    SIGMOID
  }

  /**
   * Groups of as many experts each, whose indices follow each other. A token's experts are chosen
   * from a few of the groups (device-limited routing, DeepSeek-V2, 2024, section 2.2.2;
   * node-limited routing, DeepSeek-V3, 2024, section 2.1.2).
   *
   * @param count groups of all experts
   * @param chosen groups of which a token's experts are
   * @param best by how many of its experts of the largest scores a group is chosen: 1 or 2
   */
  public record Groups(int count, int chosen, int best) {
    /** Most groups; published models have 8. */
    public static final int MOST = 64;

    /** Whether so many experts are groups of as many each, of which the best can be summed. */
    public boolean divide(long experts) {
      return count >= 1
          && count <= MOST
          && experts % count == 0
          && best >= 1
          && best <= Math.min(2, experts / count);
    }

    /**
     * Whether the chosen groups have enough experts.
     *
     * @param experts of all groups, which {@link #divide} them
     * @param taken experts of a token
     */
    public boolean haveRoom(long experts, long taken) {
      return chosen >= 1 && chosen <= count && taken <= experts / count * chosen;
    }
  }

  /** The groups; one of all experts where there are none. */
  public Groups groupsOrAll() {
    return groups == null ? new Groups(1, 1, 1) : groups;
  }

  /** Shares are a softmax over the logits of the chosen experts, or over all of them. */
  public static RouterSpec softmax(boolean ofChosen) {
    return new RouterSpec(Scores.SOFTMAX, ofChosen, 1);
  }
}
