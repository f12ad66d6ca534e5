/** The curve over sizes: one search, and a fitted and measured model of every size asked for. */
@NullMarked
package dev.laco.curve;

import org.jspecify.annotations.NullMarked;
