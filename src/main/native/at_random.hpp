// Rounding up or down at random, so that the mean of many roundings is the number itself: a weight of 16 bits that is
// trained without a copy in f32 then moves by steps that are smaller than its last place. Random numbers are those of
// StochasticRounding.java, and so are the results.
#pragma once

#include "round.hpp"

namespace LACO_NAMESPACE {

// The finalizer of MurmurHash3.
inline Word scrambled(Word x) {
  x = (x ^ (x >> 16)) * 0x85ebca6bu;
  x = (x ^ (x >> 13)) * 0xc2b2ae35u;
  return x ^ (x >> 16);
}

// 32 random bits for each of the elements from i on, which is a multiple of W.
inline Word random_bits(uint64_t key, int64_t i) {
  Word element;
  for (int k = 0; k < W; k++) {
    element[k] = static_cast<uint32_t>(k);
  }
  const uint64_t at = static_cast<uint64_t>(i);
  element += static_cast<uint32_t>(at);
  const uint32_t low = static_cast<uint32_t>(key) + static_cast<uint32_t>(at >> 32) * 0x9e3779b9u;
  return scrambled(scrambled(element ^ low) + static_cast<uint32_t>(key >> 32));
}

inline Vec round_at_random(Vec v, Word, const F32*) { return v; }

// To a value of bf16; infinities and NaN stay.
inline Vec round_at_random(Vec v, Word random, const Bf16*) {
  const Word bits = bit_cast<Word>(v);
  const Word rounded = (bits + (random >> 16)) & 0xffff0000u;
  return bit_cast<Vec>((bits & 0x7fffffffu) < 0x7f800000u ? rounded : bits);
}

// To a value of f16, whose numbers below 2^-14 are multiples of 2^-24.
inline Vec round_at_random(Vec v, Word random, const F16*) {
  const Word bits = bit_cast<Word>(v);
  const Word magnitude = bits & 0x7fffffffu;
  const Int is_small = magnitude < 0x38800000u;
  const Vec share = __builtin_convertvector(bit_cast<Int>(random >> 9), Vec) * 0x1p-23f;
  const Vec units = select(is_small, bit_cast<Vec>(magnitude), Vec{}) * 0x1p24f + share;
  const Vec small = __builtin_convertvector(__builtin_convertvector(units, Int), Vec) * 0x1p-24f;
  const Word normal = (bits + (random >> 19)) & ~0x1fffu;
  const Word finite = is_small ? bit_cast<Word>(small) | (bits & 0x80000000u) : normal;
  return bit_cast<Vec>(magnitude < 0x7f800000u ? finite : bits);
}

}  // namespace LACO_NAMESPACE
