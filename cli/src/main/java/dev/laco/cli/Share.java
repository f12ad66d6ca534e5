package dev.laco.cli;

import dev.laco.UsageException;
import java.math.BigDecimal;

/** A share as a user writes it: {@code 0.25} or {@code 25%}, exact. */
record Share(BigDecimal value) {
  static Share parse(String text) {
    boolean percent = text.endsWith("%");
    try {
      BigDecimal number = new BigDecimal(percent ? text.substring(0, text.length() - 1) : text);
      return new Share(percent ? number.movePointLeft(2) : number);
    } catch (NumberFormatException e) {
      throw new UsageException("'" + text + "' is not a decimal number or a percentage");
    }
  }

  @Override
  public String toString() {
    return value.toString();
  }
}
