/** The command line. */
@NullMarked
package dev.laco.cli;

import org.jspecify.annotations.NullMarked;
