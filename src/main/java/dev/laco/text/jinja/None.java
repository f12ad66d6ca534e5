package dev.laco.text.jinja;

/** Python's {@code None}. */
enum None {
  NONE
}
