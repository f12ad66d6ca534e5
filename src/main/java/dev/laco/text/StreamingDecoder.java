package dev.laco.text;

import java.util.Arrays;

/**
 * Decodes a stream of tokens. A token may hold part of a character (byte-level BPE, byte fallback),
 * and how a token is written may depend on the one before it (a leading space that is dropped at
 * the start of a text). So a token is decoded together with its predecessors, and text comes out as
 * soon as its characters are complete.
 */
public final class StreamingDecoder {
  private static final char REPLACEMENT = '\uFFFD';

  private final Tokenizer tokenizer;

  /** Tokens decoded together: those of the last piece that came out, then the waiting ones. */
  private int[] latest = {};

  /** How many tokens at the front of {@link #latest} have come out completely. */
  private int printedTokens;

  /** How many chars of the decoded {@link #latest} have come out. */
  private int printedChars;

  StreamingDecoder(Tokenizer tokenizer) {
    this.tokenizer = tokenizer;
  }

  /**
   * Takes the next token; returns the text that is complete with it, often none or several chars.
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

  /** The end of the stream: what still waits, with U+FFFD for characters that never completed. */
  public String finish() {
    String text = tokenizer.decode(latest);
    return text.substring(Math.min(printedChars, text.length()));
  }
}
