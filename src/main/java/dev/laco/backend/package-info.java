/** The interface to a device: its memory, and the ops that it computes. */
@NullMarked
package dev.laco.backend;

import org.jspecify.annotations.NullMarked;
