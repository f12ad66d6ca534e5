/** Native libraries: search, downcalls, errors. */
@NullMarked
package dev.laco.ffi;

import org.jspecify.annotations.NullMarked;
