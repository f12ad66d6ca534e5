/**
 * The reference backend: ops in plain Java with f64 sums, which the tests compare the other
 * backends with.
 */
@NullMarked
package dev.laco.backend.reference;

import org.jspecify.annotations.NullMarked;
