/** Scores plans by running them against the original model. */
@NullMarked
package dev.laco.scoring;

import org.jspecify.annotations.NullMarked;
