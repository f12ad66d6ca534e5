package dev.laco.bench.gpu;

/** Tells how a card is. */
interface CardSensors {
  /** How the card is now. */
  CardState read();
}
