/**
 * The CPU backend: our C++ kernels and matrix products of oneDNN, called through the foreign
 * function interface of the JDK (FFM).
 */
@NullMarked
package dev.laco.backend.cpu;

import org.jspecify.annotations.NullMarked;
