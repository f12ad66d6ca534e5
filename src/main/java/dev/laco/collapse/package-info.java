/** The algorithm: layer mixes, merge rules, plans, the loop, and the scorer it asks. */
@NullMarked
package dev.laco.collapse;

import org.jspecify.annotations.NullMarked;
