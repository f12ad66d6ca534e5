/** A prune: what is asked for, what is told while it goes on, and what comes out. */
@NullMarked
package dev.laco.prune;

import org.jspecify.annotations.NullMarked;
