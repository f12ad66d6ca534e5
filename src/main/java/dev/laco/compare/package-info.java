/** A comparison: ways to make a model shallower, on the same device, texts and size. */
@NullMarked
package dev.laco.compare;

import org.jspecify.annotations.NullMarked;
