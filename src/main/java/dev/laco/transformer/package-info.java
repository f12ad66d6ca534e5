/** The forward pass, written once against the backend's ops. */
@NullMarked
package dev.laco.transformer;

import org.jspecify.annotations.NullMarked;
