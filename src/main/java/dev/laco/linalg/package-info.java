/** Dense linear algebra in f64 on the host, by LAPACK. */
@NullMarked
package dev.laco.linalg;

import org.jspecify.annotations.NullMarked;
