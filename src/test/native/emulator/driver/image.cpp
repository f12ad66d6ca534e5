// Formats: a fatbin is a header (magic 0xBA55ED50) and entries, each a header with kind, size and architecture
// and then PTX text or an ELF file. A cubin's ELF has, for every kernel K, a section .nv.info.K of attributes
// (a byte of format, a byte of name, 16 bits of value or of size, and then that many bytes) and, where it has
// static shared memory, a section .nv.shared.K of that size.
#include "image.hpp"

#include <elf.h>

#include <cstring>
#include <optional>

namespace standin {
namespace {

constexpr uint32_t kFatbinMagic = 0xba55ed50;
constexpr char kEmulatedImage[] = "laco emulated image ";
// Since compute capability 9.0 a kernel's section counts what the system keeps for itself.
constexpr size_t kReservedShared = 1024;

struct FatbinHeader {
  uint32_t magic;
  uint16_t version;
  uint16_t header_bytes;
  uint64_t bytes;  // behind the header
};

struct FatbinEntry {
  uint16_t kind;
  uint16_t unknown;
  uint32_t header_bytes;
  uint64_t bytes;
  uint32_t compressed_bytes;  // 0: not compressed
  uint32_t options;
  uint16_t minor;  // of the PTX version
  uint16_t major;
  uint32_t architecture;
  uint32_t name;
  uint32_t name_bytes;
  uint64_t flags;
};
constexpr uint16_t kPtx = 1;
constexpr uint16_t kElf = 2;
constexpr uint64_t kArchitectureSpecific = 1 << 20;

// Attributes of a kernel.
constexpr uint8_t kMaxThreads = 0x05;
constexpr uint8_t kParameterInfo = 0x17;
constexpr uint8_t kParameterBytes = 0x19;
constexpr uint8_t kSized = 4;  // the format with bytes behind it

template <class T>
T read(const unsigned char* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

std::optional<std::string> without_prefix(const std::string& text, const char* prefix) {
  const size_t length = std::strlen(prefix);
  return text.compare(0, length, prefix) == 0 ? std::optional(text.substr(length)) : std::nullopt;
}

void read_attributes(const unsigned char* from, size_t bytes, EntryPoint& entry) {
  for (size_t at = 0; at + 4 <= bytes;) {
    const uint8_t format = from[at];
    const uint8_t name = from[at + 1];
    const auto value = read<uint16_t>(from + at + 2);
    const unsigned char* data = from + at + 4;
    if (name == kParameterInfo && format == kSized) {
      // Index, position, offset, and the size in the upper 14 bits.
      entry.parameters[read<uint16_t>(data + 4)] = {read<uint16_t>(data + 6), read<uint32_t>(data + 8) >> 18, 0};
    } else if (name == kParameterBytes) {
      entry.parameter_bytes = value;
    } else if (name == kMaxThreads && format == kSized) {
      entry.max_threads = read<uint32_t>(data) * read<uint32_t>(data + 4) * read<uint32_t>(data + 8);
    }
    at += format == kSized ? 4u + value : 4u;
  }
}

CUresult read_cubin(const unsigned char* data, Cubin& cubin, std::string& reason) {
  const auto header = read<Elf64_Ehdr>(data);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_machine != EM_CUDA) {
    reason = "no cubin: not an ELF file for CUDA";
    return CUDA_ERROR_INVALID_IMAGE;
  }
  cubin.abi = header.e_ident[EI_ABIVERSION];
  const auto section = [&](unsigned i) { return read<Elf64_Shdr>(data + header.e_shoff + i * sizeof(Elf64_Shdr)); };
  const char* names = reinterpret_cast<const char*>(data + section(header.e_shstrndx).sh_offset);
  size_t reserved = 0;
  std::map<std::string, size_t> shared;
  for (unsigned i = 0; i < header.e_shnum; i++) {
    const Elf64_Shdr one = section(i);
    const std::string name = names + one.sh_name;
    if (name == ".nv.shared.reserved.0") {
      reserved = kReservedShared;
    } else if (const auto of_shared = without_prefix(name, ".nv.shared.")) {
      shared[*of_shared] = one.sh_size;
    } else if (const auto of_info = without_prefix(name, ".nv.info.")) {
      read_attributes(data + one.sh_offset, one.sh_size, cubin.entry_points[*of_info]);
    }
  }
  for (auto& [name, entry] : cubin.entry_points) {
    const size_t bytes = shared[name];
    entry.shared_bytes = bytes > reserved ? bytes - reserved : 0;
  }
  return CUDA_SUCCESS;
}

CUresult read_fatbin(const unsigned char* data, Image& image, std::string& reason) {
  const auto header = read<FatbinHeader>(data);
  const unsigned char* end = data + header.header_bytes + header.bytes;
  for (const unsigned char* at = data + header.header_bytes; at < end;) {
    const auto entry = read<FatbinEntry>(at);
    const unsigned char* content = at + entry.header_bytes;
    if (entry.compressed_bytes != 0) {
      reason = "the fatbin is compressed, the stand-in reads plain ones: nvcc --no-compress";
      return CUDA_ERROR_INVALID_IMAGE;
    }
    if (entry.kind == kPtx) {
      const char* text = reinterpret_cast<const char*>(content);
      image.ptx.push_back({static_cast<int>(entry.architecture), entry.major * 10 + entry.minor,
                           std::string(text, strnlen(text, entry.bytes))});
    } else if (entry.kind == kElf) {
      Cubin cubin;
      cubin.architecture = static_cast<int>(entry.architecture);
      cubin.exact = (entry.flags & kArchitectureSpecific) != 0;
      if (const CUresult status = read_cubin(content, cubin, reason); status != CUDA_SUCCESS) {
        return status;
      }
      image.cubins.push_back(std::move(cubin));
    } else {
      reason = "the fatbin has an entry of kind " + std::to_string(entry.kind);
      return CUDA_ERROR_INVALID_IMAGE;
    }
    at = content + entry.bytes;
  }
  return CUDA_SUCCESS;
}

// The newest PTX that a driver reads, as 88 for 8.8.
int newest_ptx(int driver_version) {
  const int minor = driver_version % 1000 / 10;
  if (driver_version >= 13000) {
    return 90 + minor;
  }
  // 12.6 came without a new version.
  return 80 + (minor < 6 ? minor : minor - 1);
}

}  // namespace

CUresult read_image(const void* data, Image& image, std::string& reason) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  const char* text = static_cast<const char*>(data);
  if (std::strncmp(text, kEmulatedImage, sizeof(kEmulatedImage) - 1) == 0) {
    text += sizeof(kEmulatedImage) - 1;
    image.operation = std::string(text, std::strcspn(text, "\n"));
    return CUDA_SUCCESS;
  }
  if (std::strncmp(text, ELFMAG, SELFMAG) == 0) {
    // Alone it does not name its architecture; its user vouches for it.
    return read_cubin(bytes, image.cubins.emplace_back(), reason);
  }
  // Byte by byte, as not to read behind the end of a short text.
  for (unsigned i = 0; i < 4; i++) {
    if (bytes[i] != (kFatbinMagic >> (8 * i) & 0xff)) {
      reason = "the image is no fatbin, no cubin and no emulated image";
      return CUDA_ERROR_INVALID_IMAGE;
    }
  }
  return read_fatbin(bytes, image, reason);
}

CUresult select(Image& image, int major, int minor, int driver_version, std::string& reason) {
  if (!image.operation.empty()) {
    return CUDA_SUCCESS;
  }
  const int device = major * 10 + minor;
  const std::string on = " for compute capability " + std::to_string(major) + "." + std::to_string(minor);
  reason = "no code" + on;
  for (const Cubin& cubin : image.cubins) {
    const bool fits = cubin.architecture == 0 || cubin.architecture == device ||
                      (!cubin.exact && cubin.architecture / 10 == major && cubin.architecture < device);
    if (fits && cubin.abi >= 8 && driver_version < 13000) {
      reason = "code" + on + " is of CUDA 13, the driver older";
    } else if (fits && (image.cubin == nullptr || cubin.architecture > image.cubin->architecture ||
                        (cubin.architecture == image.cubin->architecture && cubin.exact))) {
      image.cubin = &cubin;
    }
  }
  if (image.cubin != nullptr) {
    return CUDA_SUCCESS;
  }
  bool too_new = false;
  for (const Ptx& ptx : image.ptx) {
    if (ptx.architecture <= device) {
      if (ptx.version <= newest_ptx(driver_version)) {
        image.text = &ptx;
        return CUDA_SUCCESS;
      }
      too_new = true;
    }
  }
  if (too_new) {
    reason += ", and the PTX is newer than the driver";
    return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
  }
  return CUDA_ERROR_NO_BINARY_FOR_GPU;
}

}  // namespace standin
