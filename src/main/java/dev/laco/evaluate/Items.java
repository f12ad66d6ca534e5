package dev.laco.evaluate;

import java.util.function.Consumer;

/** Where the items of a task come from: a file, or a rule that makes them. */
sealed interface Items permits Documents, Probe {
  /**
   * Gives the documents of the items one by one; none is kept.
   *
   * @param limit the number of documents that are given
   * @return the number of documents that there are
   */
  long read(long limit, Consumer<Document> each);

  /** The source, for people: the path of a file, or what the rule is. */
  String source();
}
