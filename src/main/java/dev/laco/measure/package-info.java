/**
 * What a model is worth: perplexity, last words, likelihoods, similarity to another model,
 * generated text.
 */
@NullMarked
package dev.laco.measure;

import org.jspecify.annotations.NullMarked;
