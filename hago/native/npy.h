// One array in numpy's .npy format, version 1.0 to 3.0, little-endian and row-major.
#ifndef HAGO_NATIVE_NPY_H_
#define HAGO_NATIVE_NPY_H_

#include <filesystem>

#include "hago/model.h"

namespace hago {

// The array in `path`, called `name`. Throws Error where it is no such file or is cut off.
Tensor ReadNpy(const std::filesystem::path& path, const std::string& name);

// Writes `tensor` so that `path` is complete or as it was. Throws Error.
void WriteNpy(const std::filesystem::path& path, const Tensor& tensor);

}  // namespace hago

#endif  // HAGO_NATIVE_NPY_H_
