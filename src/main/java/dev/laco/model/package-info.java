/** What a model is: dtype, config, architecture descriptors, rotary embedding, config rewriting. */
@NullMarked
package dev.laco.model;

import org.jspecify.annotations.NullMarked;
