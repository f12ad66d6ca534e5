/**
 * The CUDA backend: our kernels, cuBLAS and cuSOLVER. The driver is called through the JDK's
 * foreign functions (FFM) or JCuda.
 */
@NullMarked
package dev.laco.backend.cuda;

import org.jspecify.annotations.NullMarked;
