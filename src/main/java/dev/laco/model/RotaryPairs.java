package dev.laco.model;

/** Which elements of a head are the pairs that a rotary embedding rotates. */
public enum RotaryPairs {
  /** Element {@code i} and element {@code i + pairs}: the layout of Hugging Face. */
  HALVES,
  /** Element {@code 2 i} and element {@code 2 i + 1}: the layout of the paper (Su et al. 2021). */
  NEIGHBOURS
}
