/** Tokenizers, calibration sets and evaluation texts. */
@NullMarked
package dev.laco.text;

import org.jspecify.annotations.NullMarked;
