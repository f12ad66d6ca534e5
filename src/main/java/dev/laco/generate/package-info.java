/** A generation: a model continues a prompt. */
@NullMarked
package dev.laco.generate;

import org.jspecify.annotations.NullMarked;
