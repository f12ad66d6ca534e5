/** The CUDA backend: our kernels, cuBLAS, and the driver through FFM or JCuda. */
@NullMarked
package dev.laco.backend.cuda;

import org.jspecify.annotations.NullMarked;
