/** What every job on a model shares: the device, the memory plan, how long it takes. */
@NullMarked
package dev.laco.run;

import org.jspecify.annotations.NullMarked;
