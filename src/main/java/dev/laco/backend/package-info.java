/** The ops that a device supplies. */
@NullMarked
package dev.laco.backend;

import org.jspecify.annotations.NullMarked;
