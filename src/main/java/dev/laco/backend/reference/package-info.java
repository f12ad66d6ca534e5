/** Plain Java ops that accumulate in f64: the oracle of every other backend. */
@NullMarked
package dev.laco.backend.reference;

import org.jspecify.annotations.NullMarked;
