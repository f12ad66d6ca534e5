/** Rules that carry over what removed layers did: weights refitted in closed form. */
@NullMarked
package dev.laco.fit;

import org.jspecify.annotations.NullMarked;
