/** Perplexity and generation. */
@NullMarked
package dev.laco.eval;

import org.jspecify.annotations.NullMarked;
