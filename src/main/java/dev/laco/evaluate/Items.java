package dev.laco.evaluate;

import java.util.function.Consumer;
import java.util.function.LongPredicate;

/** Where the items of a task come from: a file, or a rule that makes them. */
sealed interface Items permits Documents, Probe {
  /**
   * Gives the documents of the items one by one; none is kept.
   *
   * @param limit the number of documents that are given, if all are wanted
   * @param wanted says which of these documents are given, by their numbers from 0; is asked in
   *     their order
   * @return the number of documents that there are
   */
  long read(long limit, LongPredicate wanted, Consumer<Document> each);

  /** About how many documents there are. */
  long count();

  /** The source, for people: the path of a file, or what the rule is. */
  String source();
}
