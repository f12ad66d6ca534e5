// What a module is loaded from: a fatbin with cubins and PTX, a single cubin, or the line of text that stands
// for a fatbin where there is no CUDA compiler. Only entry points are read: their code is the emulator's.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cuda_driver.hpp"
#include "simt.hpp"

namespace standin {

struct EntryPoint {
  std::map<unsigned, simt::Parameter> parameters;  // by position
  unsigned parameter_bytes = 0;
  unsigned max_threads = 0;  // 0: not bounded
  size_t shared_bytes = 0;   // static
};

// The code for one architecture.
struct Cubin {
  int architecture = 0;  // 90: compute capability 9.0
  bool exact = false;    // sm_90a: runs on this one only
  int abi = 0;           // 8 since CUDA 13
  std::map<std::string, EntryPoint> entry_points;
};

struct Ptx {
  int architecture = 0;
  int version = 0;  // 90: PTX 9.0
  std::string text;
};

struct Image {
  std::string operation;  // of an emulated image: its kernels are those of this .cu file
  std::vector<Cubin> cubins;
  std::vector<Ptx> ptx;
  // What a device takes of it.
  const Cubin* cubin = nullptr;
  const Ptx* text = nullptr;
};

// CUDA_SUCCESS, or what a driver answers, with the reason.
CUresult read_image(const void* data, Image& image, std::string& reason);
// Picks what fits the device.
CUresult select(Image& image, int major, int minor, int driver_version, std::string& reason);

}  // namespace standin
