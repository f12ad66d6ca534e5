package dev.laco.report;

/**
 * How often a model predicts the last word of a passage (as in LAMBADA): each token of the word
 * must be the most likely one after the tokens before it.
 *
 * @param items passages
 * @param correct passages whose last word was known
 */
public record LastWord(int items, int correct) {
  /** Of passages for each of which is said whether its last word was known. */
  public static LastWord of(boolean[] known) {
    int correct = 0;
    for (boolean one : known) {
      correct += one ? 1 : 0;
    }
    return new LastWord(known.length, correct);
  }

  /** Share of the passages whose last word was known. */
  public double accuracy() {
    return (double) correct / items;
  }

  /** Standard error of {@link #accuracy}: {@code sqrt(p (1 - p) / n)}. */
  public double standardError() {
    double p = accuracy();
    return Math.sqrt(p * (1 - p) / items);
  }
}
