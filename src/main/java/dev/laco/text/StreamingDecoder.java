package dev.laco.text;

import java.util.Arrays;

/**
 * Decodes a stream of tokens. A token may hold part of a character (byte-level BPE, byte fallback),
 * and the text of a token may depend on the token before it (a leading space is dropped at the
 * start of a text). A token is therefore decoded together with tokens before it, and text is
 * returned as soon as its characters are complete.
 */
public final class StreamingDecoder {
  private static final char REPLACEMENT = '\uFFFD';

  private final Tokenizer tokenizer;

  /**
   * The tokens that are decoded together: those of the last returned text, then those of which no
   * text was returned yet.
   */
  private int[] latest = {};

  /** The number of first tokens of {@link #latest} whose text was returned completely. */
  private int printedTokens;

  /** The number of chars of the decoded {@link #latest} that were returned. */
  private int printedChars;

  StreamingDecoder(Tokenizer tokenizer) {
    this.tokenizer = tokenizer;
  }

  /**
   * Takes the next token, and returns the text that this token completes: no, one or several chars.
   */
  public String append(int token) {
    latest = Arrays.copyOf(latest, latest.length + 1);
    latest[latest.length - 1] = token;
    String text = tokenizer.decode(latest);
    int complete = text.length();
    while (complete > 0 && text.charAt(complete - 1) == REPLACEMENT) {
      complete--;
    }
    if (complete <= printedChars) {
      return "";
    }
    String piece = text.substring(printedChars, complete);
    if (complete == text.length()) {
      latest = Arrays.copyOfRange(latest, printedTokens, latest.length);
      printedTokens = latest.length;
      printedChars = tokenizer.decode(latest).length();
    } else {
      printedChars = complete;
    }
    return piece;
  }

  /**
   * Returns the rest of the text of all tokens so far, with U+FFFD for characters that were not
   * completed. The stream may go on behind it.
   */
  public String flush() {
    String text = tokenizer.decode(latest);
    String rest = text.substring(Math.min(printedChars, text.length()));
    printedChars = text.length();
    return rest;
  }
}
