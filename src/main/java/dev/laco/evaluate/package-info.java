/** An evaluation: how well a model predicts a text, or how often it knows a last word. */
@NullMarked
package dev.laco.evaluate;

import org.jspecify.annotations.NullMarked;
