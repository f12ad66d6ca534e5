package dev.laco.text;

/**
 * A text of which token ids are made.
 *
 * @param text the text, without that of the tokens which the tokenizer puts before every text
 * @param behindPrefix whether the text of those tokens stands in front, as a chat template writes
 *     it: for the tokenizer, {@code text} then does not begin a text
 */
public record InputText(String text, boolean behindPrefix) {
  /** A text that begins where the tokenizer's text begins. */
  public static InputText of(String text) {
    return new InputText(text, false);
  }
}
