#include "npy.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <regex>
#include <sstream>
#include <utility>

namespace hago {
namespace {

constexpr char kMagic[] = "\x93NUMPY";
constexpr size_t kMagicSize = 6, kHeaderMultiple = 64, kLongestHeader = 1 << 16;
const std::pair<const char*, const char*> kTypes[] = {
    {"<f4", "float32"}, {"<f8", "float64"}, {"<f2", "float16"}, {"|i1", "int8"},
    {"<i2", "int16"},   {"<i4", "int32"},   {"<i8", "int64"},   {"|u1", "uint8"},
    {"<u2", "uint16"},  {"<u4", "uint32"},  {"<u8", "uint64"},  {"|b1", "bool"},
};

[[noreturn]] void Fail(const std::filesystem::path& path, const std::string& fact) {
  throw Error(path.string() + ": " + fact);
}

std::string ReadHeader(std::ifstream& file, const std::filesystem::path& path) {
  unsigned char start[kMagicSize + 2];
  file.read(reinterpret_cast<char*>(start), sizeof(start));
  if (!file || !std::equal(kMagic, kMagic + kMagicSize, reinterpret_cast<char*>(start))) {
    Fail(path, "not a .npy file");
  }
  const int digits = start[kMagicSize] == 1 ? 2 : 4;  // bytes of the header's length
  unsigned char length_bytes[4] = {};
  file.read(reinterpret_cast<char*>(length_bytes), digits);
  size_t length = 0;
  for (int i = digits - 1; i >= 0; --i) length = length << 8 | length_bytes[i];
  if (!file || length > kLongestHeader) Fail(path, "its header is damaged");
  std::string header(length, ' ');
  if (!file.read(header.data(), static_cast<std::streamsize>(length))) Fail(path, "it is cut off");
  return header;
}

std::string Match(const std::string& header, const char* pattern, const std::filesystem::path& path) {
  std::smatch found;
  if (!std::regex_search(header, found, std::regex(pattern))) Fail(path, "its header is damaged");
  return found[1];
}

}  // namespace

Tensor ReadNpy(const std::filesystem::path& path, const std::string& name) {
  std::ifstream file(path, std::ios::binary);
  if (!file) Fail(path, "cannot be read");
  const std::string header = ReadHeader(file, path);
  if (Match(header, "'fortran_order': *(True|False)", path) == "True") {
    Fail(path, "column-major; save numpy.ascontiguousarray of it");
  }
  const std::string code = Match(header, "'descr': *'([^']*)'", path);
  const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                  [&](const auto& known) { return code == known.first; });
  if (type == std::end(kTypes)) Fail(path, "element type '" + code + "' is not supported");
  TensorSpec spec{name, {}, type->second};
  std::istringstream extents(Match(header, "'shape': *\\(([0-9, ]*)\\)", path));
  for (std::string extent; std::getline(extents, extent, ',');) {
    if (extent.find_first_not_of(' ') != std::string::npos) spec.shape.push_back(std::stoll(extent));
  }
  const auto start = static_cast<uintmax_t>(file.tellg());
  if (std::filesystem::file_size(path) < start + spec.bytes()) Fail(path, "it is cut off");
  Tensor tensor(std::move(spec));
  file.read(static_cast<char*>(tensor.bytes()), static_cast<std::streamsize>(tensor.spec().bytes()));
  if (!file) Fail(path, "it is cut off");
  return tensor;
}

void WriteNpy(const std::filesystem::path& path, const Tensor& tensor) {
  const TensorSpec& spec = tensor.spec();
  const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                  [&](const auto& known) { return spec.dtype == known.second; });
  std::ostringstream text;
  text << "{'descr': '" << type->first << "', 'fortran_order': False, 'shape': (";
  for (int64_t extent : spec.shape) text << extent << ", ";
  text << "), }";
  std::string header = text.str();
  const size_t fixed = kMagicSize + 4;  // magic, version 1.0, length
  header.append(kHeaderMultiple - (fixed + header.size() + 1) % kHeaderMultiple, ' ');
  header += '\n';

  std::filesystem::path scratch = path;
  scratch += "." + std::to_string(getpid());
  std::ofstream file(scratch, std::ios::binary);
  file.write(kMagic, kMagicSize).put(1).put(0);
  file.put(static_cast<char>(header.size() & 0xff)).put(static_cast<char>(header.size() >> 8));
  file << header;
  file.write(static_cast<const char*>(tensor.bytes()), static_cast<std::streamsize>(spec.bytes()));
  file.close();
  std::error_code failure;
  if (file) std::filesystem::rename(scratch, path, failure);
  if (!file || failure) {
    std::filesystem::remove(scratch, failure);
    Fail(path, "cannot be written");
  }
}

}  // namespace hago
