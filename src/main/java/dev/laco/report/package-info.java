/** What a prune did, as records, and the JSON of these records. */
@NullMarked
package dev.laco.report;

import org.jspecify.annotations.NullMarked;
