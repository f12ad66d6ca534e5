/** LaCo, layer collapse: the errors that every room shares. */
@NullMarked
package dev.laco;

import org.jspecify.annotations.NullMarked;
