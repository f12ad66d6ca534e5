/** The CPU backend: our C++ kernels and oneDNN matrix products, called by FFM. */
@NullMarked
package dev.laco.backend.cpu;

import org.jspecify.annotations.NullMarked;
